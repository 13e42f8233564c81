"""Helpers of all commands: progress bars, threads, datasets, and the replacement of whole sets.

Start with `progress.py`; `datasets.py` calls Python functions in tf.data pipelines, `staging.py` is
for commands that write several folders together, and `sealing.py` for the JSON files that list what
they wrote.
"""
