"""What a training run leaves on disk. Start with `state.py`, the progress of a run.

`checkpoints.py` saves and restores it with network and optimizer, `settings.py` compares the
settings of a run with those it is resumed with, `resumption.py` adapts its state to them,
`kept_weights.py` keeps best weights of other settings, `folder.py` guards the log folder, `log.py`
writes the records for people with `events.py`, those of TensorBoard, and `terminal.py` says what
a run will do and has done.
"""
