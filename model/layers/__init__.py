"""Layers shared by the whole network. Start with `blocks.py`."""
