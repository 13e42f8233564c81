"""Training, resumable with bit-identical results. Start with `trainer.py`, the loop.

`builder.py` builds a run from its config. `train_step.py` is the compiled step, `optimizer.py` and
`schedule.py` update the weights, `distribution.py` selects the devices, and `feature_cache.py`
computes frozen features once. The package `run` is what a run leaves on disk. `pretraining.py` is
the body of utils/pretrain.py.
"""
