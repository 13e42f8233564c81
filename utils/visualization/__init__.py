"""Drawings of predictions and of training curves. Start with `drawing.py`."""
