"""Training, resumable to the bit. Start with `trainer.py`."""
