"""Faults of PNG and JPEG files that Pillow does not report."""

import io
import mmap
import os
import random
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

PIECE_BYTES = 1 << 16
_SIGNATURE_BYTES = 8
# Of a JPEG image. Decoding takes as long as their number times its size; encoders write about ten.
MAX_SCANS = 100
_START_OF_SCAN, _END_OF_IMAGE, _ARITHMETIC = b"\xff\xda", b"\xff\xd9", b"\xff\xc9"
# The markers before size and colors, and whether the image is progressive.
_FRAMES = {bytes((0xFF, 0xC0 + kind)): bool(kind & 2) for kind in (0, 1, 2, 9, 10)}
# Markers that libjpeg acts on, without those that restart within a scan.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
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


def fault_of_header(image: Image.Image, path: str | os.PathLike) -> str | None:
    """What is wrong with an opened image, before its pixels are decoded.

    Args:
        image: opened.
        path: its file.
    """
    if image.format == "PNG" and image.mode == "P" and image.palette is None:
        return "its palette is missing"
    if image.format in ("JPEG", "MPO") and _has_many_scans(path):
        return f"it has more than {MAX_SCANS} scans"
    return None


def fault_of_pixels(image: Image.Image, path: str | os.PathLike) -> str | None:
    """What is wrong with a decoded image.

    Pillow fills missing rows of a PNG image with zeros, and those of a JPEG image with gray, if the
    compressed stream ends properly. Only images that end in such a row or pixel, or that are
    interlaced, are examined, because that takes as long as decoding. Progressive JPEG images are
    not examined.

    Args:
        image: decoded, but not converted.
        path: its file.
    """
    is_missing = {"PNG": _misses_png_rows, "JPEG": _misses_jpeg_rows, "MPO": _misses_jpeg_rows}
    examine = is_missing.get(image.format or "")
    return "its last rows are missing" if examine and examine(image, path) else None


def _misses_png_rows(image: Image.Image, path: str | os.PathLike) -> bool:
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    if not image.info.get("interlace") and np.asarray(last_row).any():
        return False
    with open(path, "rb") as file:
        file.seek(_SIGNATURE_BYTES + 8)
        size = _pixel_bytes(*struct.unpack(">IIBBxxB", file.read(13)))
    return _inflated_bytes(path, size) < size


def _misses_jpeg_rows(image: Image.Image, path: str | os.PathLike) -> bool:
    """Whether other data at the end of a baseline JPEG file would give other pixels.

    A decoder that has all pixels reads no further.
    """
    corner = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    if corner.mode == "RGB":  # The rows above contribute to the color of the last one.
        corner = corner.convert("L")
    levels = np.asarray(corner)
    if image.info.get("progressive") or not ((levels >= 126) & (levels <= 130)).all():
        return False
    with open(path, "rb") as file:
        content = file.read()
    end = content.find(_END_OF_IMAGE, _start_of_scan(content))
    if end < 0:
        return False
    draw = random.Random(0)
    filler = b""
    # A decoder that waits for a restart marker finds it among all eight of them.
    for restart in (b"", *(bytes((0xFF, 0xD0 + number)) for number in range(8))):
        filler += restart + bytes(draw.choices(range(0xFF), k=64))
    with Image.open(io.BytesIO(content[:end] + filler + _END_OF_IMAGE)) as other:
        return not np.array_equal(np.asarray(other), np.asarray(image))


def _start_of_scan(content: bytes) -> int:
    """Where the header of the first scan begins.

    The end of `content` for arithmetic coding, which may omit zeros at the end of the data.
    """
    for place, marker in _markers(content):
        if marker in (_START_OF_SCAN, _ARITHMETIC):
            return place if marker == _START_OF_SCAN else len(content)
    return len(content)


def _has_many_scans(path: str | os.PathLike) -> bool:
    """Whether a JPEG image has more than `MAX_SCANS`.

    If the first scan of an image that is not progressive has all colors, a decoder stops there.
    """
    scans, n_colors, is_progressive = 0, b"", False
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        for place, marker in _markers(content):
            if marker in _FRAMES:
                n_colors, is_progressive = content[place + 9 : place + 10], _FRAMES[marker]
            if marker == _START_OF_SCAN:
                scans += 1
                is_whole = content[place + 4 : place + 5] == n_colors and not is_progressive
                if scans > MAX_SCANS or (scans == 1 and is_whole):
                    break
            if marker == _END_OF_IMAGE:
                break
    return scans > MAX_SCANS


def _markers(content: bytes | mmap.mmap) -> Iterator[tuple[int, bytes]]:
    """Place and value of the markers of a JPEG file after its first one.

    Their lengths lead past metadata; pixels contain no markers.
    """
    place = 2
    while found := _MARKER.search(content, place):
        yield found.start(), found[0]
        length = int.from_bytes(content[found.end() : found.end() + 2], "big")
        place = found.end() + length * (found[0] != _END_OF_IMAGE)


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
