"""Objects of own data, one by one: the image looked at, the mask made, the line filled in."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.files import written_atomically
from data.loading.annotations import Referent, clean_expression, format_line
from data.loading.boxes import LOW_IOU, box_iou, clip_box, has_area, tight_box
from data.loading.errors import DataError
from data.loading.images import has_exif_orientation, opened_image
from data.preparation.own_entries import Entry, EntryError
from data.preparation.segmentation import decode_segmentation


@dataclass(frozen=True)
class ImageFile:
    """An image as its file says, not decoded.

    Attributes:
        name: below the image folder, as it is written into the lines.
        width, height: in pixels, as stored.
        is_turned: whether programs show it turned or mirrored, because its EXIF data say so.
    """

    name: str
    width: int
    height: int
    is_turned: bool


def look_at_image(entry: Entry, image_path: Path) -> ImageFile:
    """Finds the image of an entry below `image_path`.

    Raises:
        EntryError: it lies elsewhere, is missing or is no image.
    """
    path = image_path / entry.image
    try:
        name = Path(os.path.abspath(path)).relative_to(os.path.abspath(image_path)).as_posix()
    except ValueError:
        raise EntryError(
            f"'image': {entry.image} does not lie below {image_path}: name a folder above all "
            "images with --image_path"
        ) from None
    try:
        with opened_image(path) as image:
            return ImageFile(name, *image.size, is_turned=has_exif_orientation(image))
    except FileNotFoundError:
        raise EntryError(f"'image': {path}: no such file; --image_path names its folder") from None
    except DataError as error:
        raise EntryError(f"'image': {error}") from None


def prepare_entry(
    entry: Entry, image: ImageFile, mask_folder: Path, masks_from_boxes: bool
) -> tuple[Referent, list[str]]:
    """Makes the line of an entry and writes its mask, `<mask_id>.npy`, uint8 of 0 and 1.

    Returns:
        the line, and what was changed or is odd, in sentences that fit many entries.

    Raises:
        EntryError: box, mask or expressions cannot be used.
    """
    notes = []
    if entry.image_size not in (None, (image.width, image.height)):
        raise EntryError(
            "'image_id': the file says that {} has {}×{} pixels, it has {}×{}".format(
                entry.image, *entry.image_size, image.width, image.height
            )
        )
    box = _pixel_box(entry, image, notes)
    if entry.mask_key is None:
        mask = _filled_box(box, image, masks_from_boxes)
    else:
        mask = _mask_of(entry, image, notes)
        around = tight_box(mask)
        if box is None:
            box = around
        elif box_iou(box, around) < LOW_IOU:
            notes.append(
                f"boxes that overlap with the box around their mask by IoU below {LOW_IOU} (is "
                "it left, top, right, bottom?)"
            )
    referent = Referent(image.name, box, entry.category, entry.mask_id, _said(entry, notes))
    try:
        format_line(referent)
    except ValueError as error:
        raise EntryError(f"'image': {error}") from None
    with written_atomically(mask_folder / f"{entry.mask_id}.npy") as file:
        np.save(file, mask)
    return referent, notes


def _said(entry, notes):
    cleaned = tuple(clean_expression(text) for text in entry.expressions)
    if not all(cleaned):
        raise EntryError(f"'expressions': {entry.expressions!r}: one is nothing but \"~\"")
    if any(a != b.strip() for a, b in zip(cleaned, entry.expressions, strict=True)):
        notes.append('expressions with a lone "~" or a line end, taken out')
    return cleaned


def _pixel_box(entry, image, notes):
    """The box in whole pixels that hold all of it, clipped to the image; None if not given."""
    if entry.box_xyxy_px is None:
        return None
    x1, y1, x2, y2 = entry.box_xyxy_px
    whole = (int(x1 // 1), int(y1 // 1), int(-(-x2 // 1)), int(-(-y2 // 1)))
    clipped = clip_box(whole, image.width, image.height)
    if not has_area(clipped):
        raise EntryError(
            f"'box': {[x1, y1, x2, y2]} lies outside the image of {image.width}×{image.height} "
            "pixels: left, top, right, bottom in pixels are wanted"
        )
    if clipped != whole:
        notes.append("boxes clipped to the image")
    return clipped


def _filled_box(box, image, masks_from_boxes):
    if box is None:
        raise EntryError("'box': neither a box nor a polygon, rle or mask is given")
    if not masks_from_boxes:
        raise EntryError(
            "'polygon': neither a polygon nor rle or mask is given; --masks_from_boxes fills the "
            "box, and then segmentation learns boxes"
        )
    mask = np.zeros((image.height, image.width), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def _mask_of(entry, image, notes):
    """uint8 (height, width), 0 or 1, not empty."""
    if entry.mask_key == "mask":
        mask = _read_mask_image(entry.mask, image, notes)
    else:
        try:
            mask = decode_segmentation(entry.mask, image.width, image.height)
        except (ValueError, TypeError) as error:
            raise EntryError(f"'{entry.mask_key}': {error}") from None
    if not mask.any():
        raise EntryError(f"'{entry.mask_key}': the mask has no pixel inside the image")
    return mask


def _read_mask_image(path, image, notes):
    try:
        with opened_image(path) as file:
            if file.format == "JPEG":
                raise EntryError(f"'mask': {path}: JPEG blurs the border of a mask: save it as PNG")
            pixels = _values(file)
    except FileNotFoundError:
        raise EntryError(f"'mask': {path}: no such file") from None
    except DataError as error:
        raise EntryError(f"'mask': {error}") from None
    if pixels.shape != (image.height, image.width):
        raise EntryError(
            f"'mask': {path}: {pixels.shape[1]}×{pixels.shape[0]} pixels, its image {image.name} "
            f"has {image.width}×{image.height}"
        )
    if len(np.unique(pixels)) > 2:
        notes.append("mask images with more than two values: all above 0 is taken for the object")
    return (pixels > 0).astype(np.uint8)


def _values(file):
    """One value a pixel: the brightest channel, the index of a palette, 0 where transparent."""
    if "A" in file.getbands():
        pixels = np.asarray(file.convert("RGBA"))
        return pixels[:, :, :3].max(axis=2) * (pixels[:, :, 3] > 0)
    pixels = np.asarray(file)
    return pixels.max(axis=2) if pixels.ndim == 3 else pixels
