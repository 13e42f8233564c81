"""Grounding of expressions in photographs. Start with `predictor.py`.

`grounder.py` runs the network by one of the `engines/`, `expressions.py` and `photographs.py`
prepare its input, `masks.py` and `prediction.py` hold its output, `attention.py` shows where it
looks. `jobs.py`, `batch.py` and `output.py` are the body of predict.py; `run_folder.py` finds the
settings that belong to weights.
"""
