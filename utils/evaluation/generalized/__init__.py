"""Evaluation on sets with expressions that refer to several objects or to none, as in gRefCOCO.

`metrics.py` computes the measures, their intervals and the threshold below which a prediction is
that of no target, `targets.py` adds the expressions without a target to a set, and `results.py`
writes the results. `network.py` and `predictions.py` are the bodies of test.py. Start with
`metrics.py`.
"""
