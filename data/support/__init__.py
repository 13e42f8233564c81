"""Helpers of all commands: progress bars. Start with `progress.py`."""
