"""Export to SavedModel, ONNX and TFLite: `python -m utils.export`. Start with `files.py`."""
