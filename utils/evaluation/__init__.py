"""Evaluation of a network on a data set. Start with `evaluator.py`.

`text_features.py` encodes expressions, `comparison.py` compares predictions with the ground truth,
`metrics.py` registers the metrics, `report.py` is the body of test.py, and `pictures.py` draws what
a network predicts. `results` is what an evaluation measures and writes,
`breakdown` computes metrics of parts of a set, and `scoring` scores predictions of other systems.
`compare.py` is a command that compares two dumps.
"""
