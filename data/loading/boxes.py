"""Boxes (left, top, right, bottom) in pixels: around a mask, clipped to an image, compared."""

from collections.abc import Sequence

import numpy as np

# Two boxes that overlap less are unlikely to belong to the same object.
LOW_IOU = 0.5


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Bounding box of the pixels above 0 of a mask (height, width), which has at least one."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def clip_box(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """Clips a box to an image; a result with an area has its center on a pixel of the image."""
    x1, y1, x2, y2 = box
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)


def has_area(box: tuple[int, int, int, int]) -> bool:
    """Whether a box has a positive width and height."""
    x1, y1, x2, y2 = box
    return x1 < x2 and y1 < y2


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes with a positive area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return intersection / (sum(areas) - intersection)
