"""What can be exported, and to which file formats."""

from config.errors import UserError

PARTS = ("whole", "image_encoder", "grounder")
# File format → suffix of its files; a SavedModel is a folder.
SUFFIXES = {"savedmodel": "", "onnx": ".onnx", "tflite": ".tflite"}


class ExportError(UserError):
    """An export that is not possible; the message names the reason and the way out."""
