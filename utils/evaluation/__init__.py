"""Evaluation of a network on a data set. Start with `evaluator.py`."""
