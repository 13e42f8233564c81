"""Pictures of predictions and training curves. Start with `drawing.py`."""
