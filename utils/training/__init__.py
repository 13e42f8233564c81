"""Training, resumable with bit-identical results. Start with `trainer.py`, the loop.

`builder.py` builds a run from its config. `train_step.py` is the compiled step, `step_reader.py`
reads what it returns, `optimizer.py` and `schedule.py` update the weights, `bests.py` decides which
of them are saved as the best, and `feature_cache.py` computes frozen features once. The package
`run` is what a run leaves on disk, `distributed` is its devices and processes, and `launch.py`
starts several processes on one machine. `pretraining.py` is the body of utils/pretrain.py.
"""
