"""Masks as COCO writes them: polygons and run lengths → pixels."""

from typing import Any

import numpy as np


def decode_segmentation(segmentation: Any, width: int, height: int) -> np.ndarray:
    """The union of all parts of one object.

    Args:
        segmentation: a list of polygons [x1, y1, x2, y2, …] in pixels; or run lengths
            {"size": [height, width], "counts": …} with counts as COCO's compressed text or as a
            list of numbers; or a list of such run lengths.
        width, height: of the image, in pixels.

    Returns:
        uint8 (height, width), 0 or 1; 1 where any part is.

    Raises:
        ValueError: none of these forms, broken run lengths, or a size that is not the image's.
    """
    from pycocotools import mask as coco_mask

    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    if not parts:
        raise ValueError("the segmentation is empty")
    encoded = [_encode(coco_mask, part, width, height) for part in parts]
    return coco_mask.decode(coco_mask.merge(encoded))


def _encode(coco_mask, part: Any, width: int, height: int) -> dict:
    """One part as compressed run lengths."""
    if isinstance(part, list):
        _check_polygon(part, width, height)
        return coco_mask.frPyObjects([part], height, width)[0]
    if not isinstance(part, dict) or "counts" not in part or "size" not in part:
        raise ValueError(f"neither polygon nor run lengths: {str(part)[:80]}")
    if part["size"] not in ([height, width], (height, width)):
        raise ValueError(
            f"run lengths of size {part['size']} (height, width) for an image of {height}×{width}"
        )
    runs = part["counts"]
    if isinstance(runs, str | bytes):
        runs = _uncompress(runs)
    # pycocotools leaves the pixels behind a last run that ends early as they lay in memory.
    if (
        not isinstance(runs, list)
        or not all(isinstance(run, int) and run >= 0 for run in runs)
        or sum(runs) != height * width
    ):
        raise ValueError(f"run lengths that do not add up to {height}×{width} pixels")
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def _check_polygon(polygon: list, width: int, height: int) -> None:
    # pycocotools takes four numbers for a box.
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"a polygon needs three or more x, y pairs, found {str(polygon)[:80]}")
    # pycocotools walks along every edge: a corner at 1e9 or NaN takes all memory there is.
    side = max(width, height)
    for value in polygon:
        if not isinstance(value, int | float) or not -side <= value <= 2 * side:
            raise ValueError(
                f"a polygon has the coordinate {value!r}, far from the image of {width}×{height}"
            )


def _uncompress(counts: str | bytes) -> list[int]:
    """COCO's compressed counts as run lengths.

    A number is written in groups of five bits, lowest first, each group a character from "0" on;
    bit 5 says that a group follows, bit 4 of the last group is the sign. From the fourth number
    on the difference to the number two before it is written.
    """
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts:
        group = character - 48
        if not 0 <= group < 64:
            raise ValueError(f"run lengths with the character {chr(character)!r}")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("run lengths that end within a number")
    return runs
