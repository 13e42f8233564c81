"""Faults of PNG files that Pillow does not report."""

import os
import struct
import zlib

import numpy as np
from PIL import Image

PIECE_BYTES = 1 << 16
_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # By color type.
_WHOLE = ((0, 0, 1, 1),)
# The passes of an interlaced image (Adam7): first column, first row, and the steps between them.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def fault_of_header(image: Image.Image) -> str | None:
    """What is wrong with an opened PNG image, before its pixels are decoded."""
    if image.mode == "P" and image.palette is None:
        return "its palette is missing"
    return None


def fault_of_pixels(image: Image.Image, path: str | os.PathLike) -> str | None:
    """What is wrong with a decoded PNG image.

    Pillow fills missing rows with zeros if the compressed stream ends properly after a whole row.
    Only images that are interlaced or whose last row is zero are examined, because that takes as
    long as decoding.

    Args:
        image: decoded, but not converted.
        path: its file.
    """
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    if not image.info.get("interlace") and np.asarray(last_row).any():
        return None
    with open(path, "rb") as file:
        file.seek(_SIGNATURE_BYTES + 8)
        size = _pixel_bytes(*struct.unpack(">IIBBxxB", file.read(13)))
    return "its last rows are missing" if _inflated_bytes(path, size) < size else None


def _pixel_bytes(width: int, height: int, depth: int, color_type: int, interlaced: int) -> int:
    """The size of all rows before compression, each with the byte of its filter."""
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else _WHOLE:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * _CHANNELS[color_type] * depth // 8))
    return total


def _inflated_bytes(path: str | os.PathLike, most: int) -> int:
    """The number of bytes in the compressed stream of a file, counted up to `most`."""
    inflate, count = zlib.decompressobj(), 0
    with open(path, "rb") as file:
        file.seek(_SIGNATURE_BYTES)
        while len(head := file.read(8)) == 8:
            left, kind = struct.unpack(">I4s", head)
            while kind == b"IDAT" and left and (piece := file.read(min(left, PIECE_BYTES))):
                left -= len(piece)
                while piece and count < most:
                    count += len(inflate.decompress(piece, min(most - count, PIECE_BYTES)))
                    piece = inflate.unconsumed_tail
                if count == most or inflate.eof:
                    return count
            file.seek(left + 4, os.SEEK_CUR)
    return count + len(inflate.flush())
