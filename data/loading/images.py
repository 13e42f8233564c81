"""Opening images: any file to 8-bit RGB, with every fault of a file reported as `DataError`.

Training, evaluation and prediction see the same pixels of a file, whatever its kind:

- 16 bits per channel, or 12 of gray, become eight by dropping the lower ones, so that the largest
  number is white, or 0 if a TIFF file says so.
- Transparent parts, and the transparent color of a PNG image, are placed on white.
- Palettes, black and white, gray, CMYK and other colors become RGB.
- 32-bit and signed integers and floating-point numbers are refused, because no file says which are
  white.
- Of an animation, the first frame is read.
- The pixels are as stored: an orientation is left to the caller, also of TIFF.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from config.errors import UserError
from data.loading import damage
from data.loading.errors import DataError

EXIF_ORIENTATION = 0x0112
MAX_PIXELS = 64_000_000
# Of JPEG. Pillow takes much memory per row, however short it is.
MAX_SIDE = 65_535
_WHITE = (255, 255, 255, 255)
# Tags of TIFF, and the keys of `Image.info` that stay with an image when it is rotated.
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, "white is zero"
_SAMPLE_FORMAT, _SIGNED = 339, "signed integers"
_BITS_PER_SAMPLE, _TWELVE_BITS = 258, "12 bits"
# EPS is a program that Pillow has Ghostscript run; an IPTC file can contain one. BLP contains a
# JPEG image, which Pillow decodes at once, whatever its size.
_REFUSED = ("EPS", "IPTC", "BLP")
REPLACE = "replace the file"
# Bits per value of PNG images of gray, by Pillow's name of the layout.
_GRAY_BITS = {"L;2": 2, "L;4": 4, "L": 8}


@contextmanager
def faults_of(name: str | os.PathLike, way_out: str = REPLACE) -> Iterator[None]:
    """Turns what Pillow raises inside the block into a `DataError` that names the image.

    Damaged files make its decoders raise exceptions of almost every kind. Those of other code are
    not changed.

    Args:
        name: what the message calls the image.
        way_out: what to do if it is damaged, the end of the message.

    Raises:
        DataError: the image is not readable.
    """
    try:
        yield
    except (FileNotFoundError, UserError):
        raise
    except UnidentifiedImageError:  # Its own message repeats the path.
        raise DataError(f"{name}: not a readable image (unknown format); replace it") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large to open ({error}); save it at a smaller size") from None
    except Exception as error:
        if not _is_raised_in_pillow(error.__traceback__):
            raise
        reason = str(error) or type(error).__name__
        raise _damaged(name, reason, way_out) from None


def _damaged(name: str | os.PathLike, reason: str, way_out: str = REPLACE) -> DataError:
    return DataError(f"{name}: not a readable image ({reason}); {way_out}")


class _TiffAsStored(TiffImagePlugin.TiffImageFile):
    """A TIFF image with its pixels as stored: of this format alone, Pillow applies orientations."""

    def _setup(self) -> None:
        super()._setup()
        self._size = self._tile_size

    def load_end(self) -> None:
        exif = self.getexif()
        orientation = exif.pop(EXIF_ORIENTATION, None)
        super().load_end()
        if orientation is not None:
            exif[EXIF_ORIENTATION] = orientation


def _open_as_stored(path: str | os.PathLike) -> Image.Image:
    image = Image.open(path)
    if image.format != "TIFF":
        return image
    image.close()
    tiff = _TiffAsStored(path)
    tiff.info.update(dict.fromkeys(_marks_of(tiff), True))
    return tiff


def _marks_of(tiff: TiffImagePlugin.TiffImageFile) -> set[str]:
    """What the tags of a TIFF image say about its numbers, as keys of `Image.info`."""
    tags = tiff.tag_v2
    marks = {
        _WHITE_IS_ZERO: tags.get(_PHOTOMETRIC) == 0,
        _SIGNED: 2 in tags.get(_SAMPLE_FORMAT, ()),
        _TWELVE_BITS: 12 in tags.get(_BITS_PER_SAMPLE, ()),
    }
    return {mark for mark, is_set in marks.items() if is_set}


def _is_marked(image: Image.Image, mark: str) -> bool:
    """Whether the file of an image, which callers may have opened themselves, says so."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and mark in _marks_of(image):
        return True
    return mark in image.info


@contextmanager
def opened_image(path: str | os.PathLike, name: str | None = None) -> Iterator[Image.Image]:
    """Opens an image, which is decoded only when the block accesses its pixels.

    Args:
        path: the image.
        name: what error messages call it; by default its path.

    Raises, also for errors of Pillow inside the block:
        FileNotFoundError: no such file.
        DataError: the file is not an image, is damaged, or is far too large to decode.
    """
    name = os.fspath(path) if name is None else name
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{name}: not a file")  # Opening a pipe waits for a writer.
    with faults_of(name), _open_as_stored(path) as image:
        if image.format in _REFUSED:
            raise DataError(f"{name}: {image.format} files are not read; save it as PNG")
        if fault := damage.fault_of_header(image, path):
            raise _damaged(name, fault)
        _scale_transparent_color(image)
        yield image
        is_decoded = not getattr(image, "tile", ())
        if is_decoded and (fault := damage.fault_of_pixels(image, path)):
            raise _damaged(name, fault)


def read_image(path: str | os.PathLike) -> Image.Image:
    """Reads an image as 8-bit RGB, with its pixels as stored, without its EXIF orientation.

    Raises:
        DataError: the file is missing, not an image, damaged, far too large, or of a kind whose
            numbers cannot be shown.
    """
    try:
        with opened_image(path) as image:
            check_size(image, path)
            return to_rgb(image, path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; is image_path set to its folder?") from None


def check_size(image: Image.Image, name: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> None:
    """Checks that decoding an opened image takes bounded memory.

    Raises:
        DataError: it has more than `max_pixels` pixels, or a side longer than `MAX_SIDE`.
    """
    if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
        raise DataError(
            f"{name} has {image.width}×{image.height} pixels; at most {max_pixels / 1e6:g} million "
            f"and {MAX_SIDE:,} per side are read: scale it down first"
        )


def to_rgb(image: Image.Image, name: str | os.PathLike) -> Image.Image:
    """Converts an image of any kind to 8-bit RGB, as the beginning of this file describes.

    Args:
        image: opened or decoded.
        name: what the error message calls it.

    Raises:
        DataError: its pixels are 32-bit or signed integers, or floating-point numbers.
    """
    if _has_sixteen_bits(image, name):
        image = _eight_bits(image)
    if image.mode == "La":  # Pillow converts it no further.
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits as gray of eight; with opacity if a value is transparent."""
    values, is_opaque = gray_of_sixteen_bits(image)
    gray = Image.fromarray((values >> 8).astype(np.uint8))
    if image.info.get("transparency") is not None:
        gray.putalpha(Image.fromarray(is_opaque.astype(np.uint8) * 255))
    return gray


def gray_of_sixteen_bits(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of gray of 16 bits.

    Args:
        image: opened or decoded, gray of 16 bits, or of 12, which Pillow does not scale.

    Returns:
        Its values, uint16 (height, width), of which 0 is black; and where it is opaque, bool of the
        same shape.
    """
    values = np.asarray(image).astype(np.uint16) << (4 if _is_marked(image, _TWELVE_BITS) else 0)
    is_opaque = values != image.info.get("transparency", -1)
    # Pillow inverts such pixels itself if they have up to eight bits.
    return (~values if is_white_zero(image) else values), is_opaque


def is_white_zero(image: Image.Image) -> bool:
    """Whether 0 is white in the file of an image."""
    return _is_marked(image, _WHITE_IS_ZERO)


def has_colors_of_sixteen_bits(image: Image.Image) -> bool:
    """Whether an opened image has several channels of 16 bits: Pillow keeps the upper eight."""
    for tile in getattr(image, "tile", ()):
        if re.search(";16[BLN]", str(tile.args)):
            return not image.mode.startswith("I")
        if tile.codec_name in ("ppm", "ppm_plain") and image.mode == "RGB":
            return tile.args[1] > 255
    return False


def _scale_transparent_color(image: Image.Image) -> None:
    """Scales the transparent color of an opened PNG image as Pillow scales the pixels.

    Of 16 bits per channel, Pillow keeps the upper eight, so a color that differs from the
    transparent one in the lower bits only is transparent, too.
    """
    key, tiles = image.info.get("transparency"), getattr(image, "tile", ())
    if image.format != "PNG" or key is None or not tiles:
        return
    layout = tiles[0].args
    if layout in _GRAY_BITS:
        largest = (1 << _GRAY_BITS[layout]) - 1
        image.info["transparency"] = (key & largest) * 255 // largest
    elif layout == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def conversion_of(source: str | os.PathLike | Image.Image) -> str | None:
    """Says how reading an image changes its pixels, without decoding it.

    Args:
        source: path, or an opened image that is not decoded yet.

    Returns:
        Such as "16-bit grayscale scaled to 8 bits"; None if the pixels are read as they are.

    Raises:
        FileNotFoundError: no such file.
        DataError: the image cannot be opened, or `to_rgb` refuses it.
    """
    if not isinstance(source, Image.Image):
        with opened_image(source) as image:
            return conversion_of(image)
    done = []
    if _has_sixteen_bits(source, getattr(source, "filename", "") or "the image"):
        bits = 12 if _is_marked(source, _TWELVE_BITS) else 16
        done.append(f"{bits}-bit grayscale scaled to 8 bits")
    elif has_colors_of_sixteen_bits(source):
        done.append("16 bits per channel scaled to 8 bits")
    if source.has_transparency_data:
        done.append("transparency placed on white")
    elif source.mode not in ("1", "L", "P", "RGB") and not done:
        done.append(f"{source.mode} converted to RGB")
    return " and ".join(done) or None


def has_exif_orientation(image: Image.Image) -> bool:
    """Whether the EXIF data of an opened image tell viewers to rotate or mirror it.

    Training reads the pixels as stored. A PNG image is not decoded to look for EXIF data that
    follow its pixels.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return False
    return image.getexif().get(EXIF_ORIENTATION, 1) != 1


def _has_sixteen_bits(image: Image.Image, name: str | os.PathLike) -> bool:
    """Whether an image is gray of 16 bits; raises `DataError` for signed and 32-bit numbers."""
    if image.mode.startswith("I;16"):
        return True
    if image.mode == "F":
        kind = "floating-point numbers"
    elif image.mode in ("L", "I") and _is_marked(image, _SIGNED):
        kind = "signed integers"
    elif image.mode == "I" and image.format != "PPM":  # Pillow opens PPM of 16 bits as 32 bits.
        kind = "integers of 32 bits"
    else:
        return image.mode == "I"
    raise DataError(f"{name}: the pixels are {kind}; save it with 8 bits per channel")


def _is_raised_in_pillow(traceback: TracebackType | None) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").startswith("PIL."):
            return True
        traceback = traceback.tb_next
    return False
