"""Fusion, attention and the two task branches. Start with `fusion.py`."""
