"""Writes pictures as PNG files."""

import io
import os

import numpy as np
from PIL import Image

from config.files import written_atomically


def save_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a picture atomically. Creates missing folders.

    Args:
        path: the file; an existing one is replaced.
        image: (h, w, 3) RGB or (h, w) gray, uint8.

    Raises:
        OSError: the file cannot be written.
    """
    with written_atomically(path) as file:
        Image.fromarray(image).save(file, "PNG")


def png_bytes(image: np.ndarray) -> bytes:
    """The content of the file that `save_png` writes."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
