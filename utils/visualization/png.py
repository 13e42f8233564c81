"""Writes pictures as PNG files."""

import hashlib
import io
import os
from pathlib import Path

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


def png_bytes(image: np.ndarray, sealed: bool = False) -> bytes:
    """The content of the file that `save_png` writes.

    Args:
        image: as that of `save_png`.
        sealed: whether to add a checksum of the whole content, for `is_sealed_png`. It follows the
            end of the picture, where readers of PNG files ignore it.
    """
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    content = stream.getvalue()
    return content + _seal(content) if sealed else content


def is_sealed_png(path: str | os.PathLike) -> bool:
    """Whether a file is as `png_bytes` sealed it: a regular file, no link, and not changed since.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        return False
    content = path.read_bytes()
    length = len(_seal(b""))
    return content[-length:] == _seal(content[:-length])


def _seal(content: bytes) -> bytes:
    return f"\nsealed: {hashlib.sha256(content).hexdigest()}\n".encode()
