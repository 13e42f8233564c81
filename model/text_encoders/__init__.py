"""Text encoders: an expression to its language feature. Start with `recurrent.py`."""
