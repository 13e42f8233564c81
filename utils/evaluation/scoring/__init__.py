"""Scores of predictions that any system wrote, without a network or TensorFlow.

Start with `report.py`, the body of `test.py --predictions`. `rows.py` reads a file of predictions,
`matching.py` assigns its rows to the expressions of sets, and `scorer.py` compares them with the
truth.
"""
