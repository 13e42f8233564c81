"""Evaluation of a network on a data set. Start with `evaluator.py`.

`text_features.py` encodes expressions, `grounded_images.py` compares what a network predicts for an
image with the ground truth, and `metrics.py` registers the metrics. `splits.py` is the body of
test.py: `report.py` evaluates weights on sets, `published.py` compares them with published scores,
and `result_folder.py` guards the files. `network_pictures.py` draws what a network predicts.
`results` is what an evaluation measures and writes, `breakdown` computes metrics of parts of a set,
`scoring` scores predictions of other systems, and `generalized` evaluates on sets with expressions
that refer to several objects or to none. `compare.py` is a command that compares two dumps.
"""
