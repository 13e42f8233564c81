"""Helpers for every command: progress bars. Start with `progress.py`."""
