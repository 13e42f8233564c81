"""Prediction on your own images. Start with `predictor.py`."""
