"""Decoding of COCO segmentations, polygons or run lengths, to binary masks."""

from typing import Any

import numpy as np

from config.errors import shown
from data.loading.errors import DataError
from data.loading.masks import RunLengthError, run_lengths

# For estimates: key, size and punctuation of a line; and a run, which has one to three bytes.
_BYTES_PER_LINE, _BYTES_PER_RUN = 60, 2
# Bounds of the memory that decoding takes: 50 bytes per pixel of an outline, and encoded parts.
_MAX_OUTLINE_PX = 1_000_000
_MAX_PARTS_KEPT = 64


class SegmentationError(DataError):
    """A segmentation cannot be decoded; the message does not name the object it belongs to."""


def decode_segmentation(segmentation: Any, width: int, height: int) -> np.ndarray:
    """Decodes the union of all parts of one object.

    Args:
        segmentation: a list of polygons [x1, y1, x2, y2, …] in pixels; or run lengths
            {"size": [height, width], "counts": …}, where counts is COCO's compressed string or a
            list of integers; or a list of such run lengths.
        width, height: size of the image in pixels.

    Returns:
        Mask (height, width) uint8, 1 where any part covers the pixel, else 0.

    Raises:
        SegmentationError: the segmentation has none of these forms, is damaged, or does not fit
            the size of the image.
    """
    from pycocotools import mask as coco_mask

    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    if not parts:
        raise SegmentationError("the segmentation is empty")
    encoded = []
    for part in parts:
        if isinstance(part, list):
            _check_polygon(part, width, height)
            encoded += coco_mask.frPyObjects([part], height, width)
        else:
            runs = {"size": [height, width], "counts": _run_lengths(part, width, height)}
            encoded.append(coco_mask.frPyObjects(runs, height, width))
        if len(encoded) > _MAX_PARTS_KEPT:
            encoded = [coco_mask.merge(encoded)]
    return coco_mask.decode(coco_mask.merge(encoded))


def estimated_bytes(segmentation: Any, columns: int) -> int:
    """Estimates the size of an encoded mask in a file, rather too large than too small.

    Args:
        segmentation: as for `decode_segmentation`; it need not be valid.
        columns: width of the object in pixels.
    """
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    needed = _BYTES_PER_LINE
    for part in parts:
        counts = part.get("counts") if isinstance(part, dict) else None
        if isinstance(counts, str | bytes | list):
            needed += len(counts) * (_BYTES_PER_RUN if isinstance(counts, list) else 1)
        else:
            needed += columns * 2 * _BYTES_PER_RUN  # A column has one run in and one out.
    return needed


def _run_lengths(part: Any, width: int, height: int) -> np.ndarray:
    """Returns the uncompressed run lengths of one part; they add up to the pixels of the image."""
    if not isinstance(part, dict) or "counts" not in part or "size" not in part:
        raise SegmentationError(f"neither a polygon nor run lengths: {shown(part)}")
    if part["size"] not in ([height, width], (height, width)):
        raise SegmentationError(
            f"the run lengths have the size {shown(part['size'])} (height, width), but the image "
            f"has {height}×{width}"
        )
    runs = part["counts"]
    if isinstance(runs, str | bytes):
        try:
            runs = run_lengths(runs, width * height)
        except RunLengthError as error:
            raise SegmentationError(str(error)) from None
    elif isinstance(runs, list) and all(type(r) is int and 0 <= r <= width * height for r in runs):
        runs = np.array(runs, np.int64)
    else:
        raise SegmentationError(
            f"the run lengths are {shown(runs)}, but must be text or a list of whole numbers of "
            f"pixels, at most {width * height}"
        )
    # If the last run ends early, pycocotools returns uninitialized memory for the other pixels.
    if (runs < 0).any() or runs.sum() != height * width:
        raise SegmentationError(f"the run lengths do not add up to {height}×{width} pixels")
    return runs


def _check_polygon(polygon: list[Any], width: int, height: int) -> None:
    # pycocotools interprets a list of four numbers as a box.
    if len(polygon) < 6 or len(polygon) % 2:
        raise SegmentationError(f"a polygon needs three or more x, y pairs, found {shown(polygon)}")
    # pycocotools rasterizes every edge pixel by pixel: a vertex at 1e9 or NaN, or ten thousand
    # edges across the image, exhaust the memory.
    side = max(width, height)
    for value in polygon:
        if type(value) not in (int, float) or not -side <= value <= 2 * side:
            raise SegmentationError(
                f"a polygon has the coordinate {shown(value)}, which is not a number near the "
                f"image of {width}×{height} pixels"
            )
    corners = np.array(polygon, np.float64).reshape(-1, 2)
    edges = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1)
    if edges.sum() > _MAX_OUTLINE_PX:
        raise SegmentationError(
            f"a polygon has an outline of {edges.sum():,.0f} pixels, more than {_MAX_OUTLINE_PX:,}"
        )
