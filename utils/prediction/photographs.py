"""Reads photographs of users: any image format, in upright orientation, in RGB.

The images of data sets are read as their pixels are stored. A photograph from a camera is rotated
as viewers show it, so that boxes and masks fit what its owner sees.
"""

import os
import threading
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypedDict

import numpy as np
from PIL import Image, ImageOps

from config.files import file_sha256
from data.loading.errors import DataError
from data.loading.images import (
    EXIF_ORIENTATION,
    MAX_PIXELS,
    check_size,
    faults_of,
    opened_image,
    to_rgb,
)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_APPLE_SUFFIXES = (".heic", ".heif")
# Filters of warnings are those of the process: threads that change them at once leave them changed.
_OPENING = threading.Lock()


class Source(TypedDict):
    """What tells whether a photograph has changed; the checksum is None if it cannot be read."""

    path: str
    sha256: str | None


def read_photograph(
    source: str | bytes | os.PathLike | Image.Image | np.ndarray,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> Image.Image:
    """Reads a photograph as its user sees it.

    The EXIF orientation is applied; colors are converted as in `data.loading.images.to_rgb`.

    Args:
        source: path, PIL.Image, or uint8 array (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA.
        max_pixels: images with more pixels are refused before they are decoded.
        name: what error messages call the photograph; by default its path.

    Returns:
        Decoded PIL.Image in RGB.

    Raises:
        DataError: no such file, not an image, too large, an array of another shape or dtype, or
            none of these.
    """
    if isinstance(source, np.ndarray):
        return _upright_rgb(_from_array(source), name or "the array", max_pixels)
    if isinstance(source, Image.Image):
        name = name or "the image"
        with faults_of(name, "pass one that is open and complete"):
            return _upright_rgb(source, name, max_pixels)
    if not isinstance(source, str | bytes | os.PathLike) or not os.fspath(source):
        raise DataError(
            f"{name or repr(source)[:40]} is no image: expected a path, a PIL.Image or an array"
        )
    path = os.fsdecode(source)
    name = name or path
    if path.lower().endswith(_APPLE_SUFFIXES):
        raise DataError(f"{name}: HEIC photographs are not supported; save it as JPEG first")
    try:
        with ExitStack() as opened:
            with _OPENING, warnings.catch_warnings():
                # Pillow warns about large images, for which max_pixels is the limit here.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = opened.enter_context(opened_image(path, name))
            return _upright_rgb(image, name, max_pixels)
    except FileNotFoundError:
        raise DataError(f"{name}: no such image") from None


def source_of(image: Path) -> Source:
    """The present state of a photograph.

    Taken before the photograph is read, it never belongs to a later file than what was read. Size
    and modification time do not tell: programs that copy or unpack files preserve them.
    """
    sha256 = None
    with suppress(OSError, ValueError):  # No path contains NUL.
        if image.is_file():  # Opening a pipe waits for a writer.
            sha256 = file_sha256(image)
    return {"path": source_path(image), "sha256": sha256}


def source_path(image: Path) -> str:
    """An absolute path as text that UTF-8 can encode: a URI if its bytes are no UTF-8."""
    # What ".." is behind a link, the system alone knows.
    folder = os.path.realpath(image.parent) if ".." in image.parts else image.parent
    path = os.path.abspath(os.path.join(folder, image.name))
    return Path(path).as_uri() if path_text(path) != path else path


def path_text(path: str | os.PathLike) -> str:
    """A path as text that UTF-8 can encode, for people: two paths may have the same."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _upright_rgb(image, name, max_pixels):
    """Converts an image inside `faults_of` or `opened_image`."""
    check_size(image, name, max_pixels)
    if not image.width * image.height:
        raise DataError(f"{name}: has no pixels, {image.width}×{image.height}")
    image.load()  # A PNG file may contain its EXIF data after its pixels.
    if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    return to_rgb(image, name)


def _from_array(array):
    valid_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not valid_shape or array.size == 0:
        raise DataError(
            f"an array of {array.dtype} {array.shape} is not an image: expected uint8 of shape "
            "(h, w), (h, w, 1), (h, w, 3) or (h, w, 4)"
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
