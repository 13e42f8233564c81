"""Helpers of all commands: progress bars, threads, and the replacement of several folders together.

Start with `progress.py`; `staging.py` is for commands that write whole sets, and `sealing.py` for
the JSON files that list what they wrote.
"""
