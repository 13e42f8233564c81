"""Opening images, with every fault of a file reported as `DataError`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from config.errors import UserError
from data.loading.errors import DataError

_EXIF_ORIENTATION = 0x0112
# What Pillow's decoders raise for damaged files, depending on the format.
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError)


@contextmanager
def opened_image(path: str | os.PathLike, name: str | None = None) -> Iterator[Image.Image]:
    """Opens an image, which is decoded only when the block accesses its pixels.

    Args:
        path: the image.
        name: what error messages call it; by default its path.

    Raises, also for errors inside the block:
        FileNotFoundError: no such file.
        DataError: the file is not an image, is damaged, or is far too large to decode.
    """
    name = os.fspath(path) if name is None else name
    try:
        with Image.open(path) as image:
            if image.format == "EPS":
                # A program, which Pillow would let Ghostscript run.
                raise DataError(f"{name}: EPS files are not read; save it as PNG")
            yield image
    except (FileNotFoundError, UserError):
        raise
    except UnidentifiedImageError:  # Its own message repeats the path.
        raise DataError(f"{name}: not a readable image; replace the file") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large to open ({error}); save it at a smaller size") from None
    except _DECODING_ERRORS as error:
        raise DataError(f"{name}: not a readable image ({error}); replace the file") from None


def read_image(path: str | os.PathLike) -> Image.Image:
    """Reads an image as RGB, with its pixels as stored.

    Raises:
        DataError: the file is missing, not an image, damaged or far too large.
    """
    try:
        with opened_image(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; is image_path set to its folder?") from None


def has_exif_orientation(image: Image.Image) -> bool:
    """Whether the EXIF data of an opened image tell viewers to rotate or mirror it.

    Training reads the pixels as stored. A PNG image is not decoded to look for EXIF data that
    follow its pixels.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return False
    return image.getexif().get(_EXIF_ORIENTATION, 1) != 1
