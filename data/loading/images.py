"""Opening images and masks: what every reader of them has to refuse, in one place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

_EXIF_ORIENTATION = 0x0112


class DataError(ValueError):
    """An image or mask that cannot be used; the message names the file and the way out."""


@contextmanager
def opened_image(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Opens an image; it is decoded only where the block asks for pixels.

    Raises, also for what goes wrong inside the block:
        FileNotFoundError: no such file.
        DataError: no image, damaged, or far too large to be decoded.
    """
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: too large to be opened ({error}); save it smaller") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path}: not a readable image ({error}); replace the file") from None


def is_turned(image: Image.Image) -> bool:
    """Whether programs show an opened image turned or mirrored, because its EXIF data say so.

    Training reads the pixels as they are stored. A PNG is not decoded to find EXIF data behind
    its pixels.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return False
    return image.getexif().get(_EXIF_ORIENTATION, 1) != 1


def load_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask as data/data_process.py writes it.

    Returns:
        (height, width) uint8, 0 or 1.

    Raises:
        FileNotFoundError: no such file.
        DataError: it is unreadable or not of the shape (height, width) or (height, width, 1).
    """
    try:
        mask = np.load(path, allow_pickle=False)
        rows, columns = mask.shape[:2]
        return (mask.reshape(rows, columns) > 0).astype(np.uint8)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a readable mask ({error}); prepare it again") from None
