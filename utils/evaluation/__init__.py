"""Evaluation of a network on a data set. Start with `evaluator.py`.

`metrics.py` registers the metrics, `report.py` is the body of test.py, and `pictures.py` draws
evaluated predictions.
"""
