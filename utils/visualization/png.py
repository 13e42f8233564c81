"""Writes pictures as PNG files."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from config.files import written_atomically

SEAL = "sha256 of the pixels"


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


def png_bytes(image: np.ndarray, sealed: bool = False) -> bytes:
    """The content of the file that `save_png` writes.

    Args:
        image: as that of `save_png`.
        sealed: whether to add a checksum of the pixels, for `is_sealed_png`.
    """
    stream, texts = io.BytesIO(), PngInfo()
    if sealed:
        texts.add_text(SEAL, hashlib.sha256(image.tobytes()).hexdigest())
    Image.fromarray(image).save(stream, "PNG", pnginfo=texts)
    return stream.getvalue()


def is_sealed_png(path: str | os.PathLike) -> bool:
    """Whether a file is a sealed picture of `png_bytes` with unchanged pixels; no link is.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        return False
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            pixels = np.asarray(image)
            seal = image.info.get(SEAL)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return seal == hashlib.sha256(pixels.tobytes()).hexdigest()
