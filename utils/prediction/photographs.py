"""Photographs of people who use the network: whatever opens as an image, upright, in RGB.

Data sets are read as their pixels are stored; a photograph from a camera is turned the way every
viewer shows it, so that boxes and masks fit what its owner sees.
"""

import os
import warnings

import numpy as np
from PIL import Image, ImageOps

from data.loading.images import DataError, opened_image

MAX_PIXELS = 64_000_000
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_WHITE = (255, 255, 255, 255)
_APPLE_SUFFIXES = (".heic", ".heif")


def read_photograph(source, max_pixels=MAX_PIXELS):
    """A photograph as the network's user sees it.

    The EXIF orientation is applied, transparent parts become white, grey, palette and CMYK
    images RGB, 16 bits eight; of an animation the first picture is taken.

    Args:
        source: path, PIL.Image, or uint8 array (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA.
        max_pixels: larger photographs are refused before they are decoded.

    Returns:
        PIL.Image in RGB, decoded, with a size of its own.

    Raises:
        DataError: no such file, no image, too large, or an array of another kind.
    """
    if isinstance(source, np.ndarray):
        return _upright_rgb(_from_array(source), "the array", max_pixels)
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the image", max_pixels)
    path = os.fspath(source)
    if path.lower().endswith(_APPLE_SUFFIXES):
        raise DataError(f"{path}: HEIC photographs cannot be read; save it as JPEG first")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; they are refused here by a limit of our own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with opened_image(path) as image:
                return _upright_rgb(image, path, max_pixels)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None


def _upright_rgb(image, name, max_pixels):
    if image.width * image.height > max_pixels:
        raise DataError(
            f"{name} has {image.width}×{image.height} pixels; at most "
            f"{max_pixels / 1e6:g} million are read, so scale it down first"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise DataError(f"{name} has floating-point pixels; save it with 8 bits a channel")
    if image.mode.startswith("I"):
        image = _eight_bits(image, name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("RGB")


def _eight_bits(image, name):
    """A grey image of 16 bits a pixel with eight."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"{name} has pixels of 32 bits; save it with 8 bits a channel")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _from_array(array):
    kinds = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not kinds or array.size == 0:
        raise DataError(
            f"an array of {array.dtype} {array.shape} is no image: uint8 of shape (h, w), "
            "(h, w, 3) or (h, w, 4) is"
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
