"""Single objects of own data: checks against the image, the annotation line and the mask."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.loading.annotations import Referent, clean_expression, format_line
from data.loading.boxes import LOW_IOU, box_iou, clip_box, has_area, tight_box
from data.loading.errors import DataError
from data.loading.images import (
    check_size,
    conversion_of,
    gray_of_sixteen_bits,
    has_colors_of_sixteen_bits,
    has_exif_orientation,
    is_white_zero,
    opened_image,
)
from data.preparation.json_fields import EntryError
from data.preparation.own.entries import Entry
from data.preparation.segmentation import decode_segmentation

# Formats that store pixels as they are, and modes in which 0 is black.
MASK_FORMATS = ("PNG", "BMP", "GIF", "PPM", "TIFF", "TGA")
MASK_MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "I", "F")

PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class ImageFile:
    """An image file that was opened but not decoded.

    Attributes:
        name: path relative to the image folder, as in annotation lines.
        width, height: size in pixels, as stored.
        is_rotated: whether viewers rotate or mirror it because of its EXIF data.
        conversion: how reading it changes its pixels, see `data.loading.images.conversion_of`.
    """

    name: str
    width: int
    height: int
    is_rotated: bool
    conversion: str | None


def open_image(entry: Entry, image_path: Path) -> ImageFile:
    """Opens the image of an entry, which must be inside `image_path`.

    Raises:
        EntryError: it is elsewhere, is missing, is too large, or is not an image that can be read.
    """
    path = image_path / entry.image
    try:
        name = Path(os.path.abspath(path)).relative_to(os.path.abspath(image_path)).as_posix()
    except ValueError:
        raise EntryError(
            f"'image' is {entry.image}, which is not inside {image_path}: set --image_path to a "
            "folder that contains all images"
        ) from None
    try:
        with opened_image(path) as image:
            check_size(image, path)
            return ImageFile(name, *image.size, has_exif_orientation(image), conversion_of(image))
    except FileNotFoundError:
        raise EntryError(
            f"'image': {path}: no such file; set --image_path to the folder of the images"
        ) from None
    except DataError as error:
        raise EntryError(f"'image': {error}") from None


def prepare_entry(
    entry: Entry, image: ImageFile, masks_from_boxes: bool
) -> tuple[Referent, np.ndarray, list[str]]:
    """Makes the referent of an entry and its mask.

    Args:
        entry: the entry.
        image: its image.
        masks_from_boxes: whether to fill the box if there is no mask.

    Returns:
        The referent; the mask, uint8 (height, width) of 0 and 1; and what was changed or is odd, in
        phrases that are the same for all entries.

    Raises:
        EntryError: the box, mask or expressions cannot be used.
    """
    notes: list[str] = []
    if entry.image_size not in (None, (image.width, image.height)):
        width, height = entry.image_size or (0, 0)
        raise EntryError(
            f"'image_id': the file says that {entry.image} has {width}×{height} pixels, but it has "
            f"{image.width}×{image.height}"
        )
    box = _pixel_box(entry, image, notes)
    if entry.mask_key is not None:
        mask = _mask_of(entry, image, notes)
        bounding_box = tight_box(mask)
        if box is not None and box_iou(box, bounding_box) < LOW_IOU:
            notes.append(
                f"boxes whose IoU with the bounding box of their mask is below {LOW_IOU} (are they "
                "left, top, right, bottom?)"
            )
        box = box or bounding_box
    elif box is not None:
        mask = _filled_box(box, image, masks_from_boxes)
    else:
        raise EntryError("'box' is missing, and so are 'polygon', 'rle' and 'mask'")
    texts = _storable_expressions(entry, notes)
    referent = Referent(image.name, box, entry.category, entry.mask_id, texts)
    try:
        format_line(referent)
    except DataError as error:
        raise EntryError(f"'image' or 'expressions': {error}") from None
    return referent, mask, notes


def _storable_expressions(entry: Entry, notes: list[str]) -> tuple[str, ...]:
    cleaned = tuple(clean_expression(text) for text in entry.expressions)
    if not all(cleaned):
        raise EntryError("'expressions' contains an expression that consists only of \"~\"")
    if any(a != b.strip() for a, b in zip(cleaned, entry.expressions, strict=True)):
        notes.append('expressions from which a separate "~" or a line break was removed')
    return cleaned


def _pixel_box(entry: Entry, image: ImageFile, notes: list[str]) -> PixelBox | None:
    """Rounds the box outwards to whole pixels and clips it to the image; None if there is none."""
    if entry.box_xyxy_px is None:
        return None
    x1, y1, x2, y2 = entry.box_xyxy_px
    whole = (int(x1 // 1), int(y1 // 1), int(-(-x2 // 1)), int(-(-y2 // 1)))
    clipped = clip_box(whole, image.width, image.height)
    if not has_area(clipped):
        raise EntryError(
            f"'box' {[x1, y1, x2, y2]} (left, top, right, bottom) is outside the image of "
            f"{image.width}×{image.height} pixels"
        )
    if clipped != whole:
        notes.append("boxes clipped to the image")
    return clipped


def _filled_box(box: PixelBox, image: ImageFile, masks_from_boxes: bool) -> np.ndarray:
    if not masks_from_boxes:
        raise EntryError(
            "'polygon' is missing, and so are 'rle' and 'mask'; --masks_from_boxes fills the box "
            "instead, from which segmentation learns to predict boxes"
        )
    mask = np.zeros((image.height, image.width), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def _mask_of(entry: Entry, image: ImageFile, notes: list[str]) -> np.ndarray:
    """Decodes the mask of an entry to uint8 (height, width), 0 or 1, with at least one 1."""
    if entry.mask_key == "mask":
        mask = read_mask_image(entry.mask, image, notes)
    else:
        try:
            mask = decode_segmentation(entry.mask, image.width, image.height)
        except DataError as error:
            raise EntryError(f"'{entry.mask_key}': {error}") from None
        if _extends_beyond(entry.mask, image):
            notes.append("polygons clipped to the image")
    if not mask.any():
        raise EntryError(f"'{entry.mask_key}': the mask has no pixel inside the image")
    return mask


def _extends_beyond(segmentation: Any, image: ImageFile) -> bool:
    """Whether a polygon extends beyond the image by more than a pixel."""
    polygons = segmentation if isinstance(segmentation, list) else []
    return any(
        min(polygon) < -1
        or max(polygon[0::2]) > image.width + 1
        or max(polygon[1::2]) > image.height + 1
        for polygon in polygons
        if isinstance(polygon, list)
    )


def read_mask_image(path: Path, image: ImageFile, notes: list[str]) -> np.ndarray:
    """Reads a mask from an image file.

    Args:
        path: the file.
        image: the image that the mask belongs to.
        notes: receives a note if the file has more than two values, or several and none of them
            is black.

    Returns:
        (height, width) uint8, 1 where the file is neither black nor transparent.

    Raises:
        EntryError: there is no such file, it is damaged, of a format that changes values, or of
            another size than the image.
    """
    try:
        with opened_image(path) as file:
            _check_mask_image(path, file, image)
            values = _pixel_values(path, file)
    except FileNotFoundError:
        raise EntryError(f"'mask': {path}: no such file") from None
    except DataError as error:
        raise EntryError(f"'mask': {error}") from None
    found = np.unique(values)
    if len(found) > 1 and found.all():
        notes.append("mask images without 0, which must be outside: the whole image is the object")
    elif len(found) > 2:
        notes.append("mask images with more than two values: all values but 0 are the object")
    return (values != 0).astype(np.uint8)


def _check_mask_image(path: Path, file: Image.Image, image: ImageFile) -> None:
    """Checks an opened mask image before it is decoded."""
    compression = str(file.info.get("compression"))
    if file.format not in MASK_FORMATS or "jpeg" in compression or "webp" in compression:
        raise EntryError(
            f"'mask': {path}: {file.format} can change the values at the border of a mask; save it "
            "as PNG instead"
        )
    if file.mode not in MASK_MODES and not file.mode.startswith("I;16"):
        raise EntryError(f"'mask': {path}: masks in {file.mode} are not read; save it in gray")
    if fault := _unreliable_part(file):
        raise EntryError(f"'mask': {path}: {fault}; save it as PNG")
    if file.mode == "F" and is_white_zero(file):
        raise EntryError(f"'mask': {path}: 0 is white in it; save it in gray of 8 bits, 0 outside")
    if has_colors_of_sixteen_bits(file):
        raise EntryError(
            f"'mask': {path}: of colors of 16 bits per channel, only the upper eight are read, and "
            "dark ones would be black; save it in gray, or with 8 bits per channel"
        )
    if file.size != (image.width, image.height):
        raise EntryError(
            f"'mask': {path} has {file.width}×{file.height} pixels, but its image {image.name} has "
            f"{image.width}×{image.height}"
        )


def _unreliable_part(file: Image.Image) -> str | None:
    """Says which pixels of an opened mask image Pillow makes transparent or black by itself."""
    tiles = getattr(file, "tile", ())
    if file.format == "TGA" and any("15" in str(tile.args) for tile in tiles):
        return "colors of 16 bits may be marked as transparent without meaning it"
    if file.format == "GIF" and any(tile.extents != (0, 0, *file.size) for tile in tiles):
        return "its frame does not cover the image, and the rest has no color"
    return None


def _pixel_values(path: Path, image: Image.Image) -> np.ndarray:
    """One value per pixel: 0 where it is black or transparent, else another one.

    Integers of 32 bits and signed ones can be wrong, but not whether they are 0: Pillow reads large
    ones as negative, and exchanges the bytes of compressed ones.

    Of colors, this is the value of the brightest channel, and of a palette the number of the color:
    where 0 may be any color, so that only the color itself says what is black.
    """
    if image.mode.startswith("I;16"):
        gray, is_opaque = gray_of_sixteen_bits(image)
        return gray * is_opaque
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        if np.isnan(values).any():
            raise DataError(
                f"{path}: some values are no number (NaN), which can be inside or outside the "
                "object; save it in gray of 8 bits, 0 outside"
            )
        return values
    if not image.has_transparency_data and "P" not in image.mode:
        pixels = np.asarray(image)
        return pixels.max(axis=2) if pixels.ndim == 3 else pixels
    rgba = np.asarray(image.convert("RGBA"))
    values = rgba[:, :, :3].max(axis=2) * (rgba[:, :, 3] > 0)
    if image.mode != "P":
        return values
    indices = np.asarray(image).astype(np.int32)
    if values.all() and indices.min() < indices.max():
        raise DataError(
            f"{path}: no color of its palette is black, which marks what is outside the object; "
            "save it in gray, 0 outside"
        )
    if not values.any() and not image.has_transparency_data:
        return indices  # Without a palette, or with one that is too short, there are no colors.
    return np.where(values > 0, indices + 1, 0)
