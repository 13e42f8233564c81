"""Boxes left, top, right, bottom in pixels: around a mask, and how much two overlap."""

import numpy as np


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Box around the pixels above 0 of a mask (height, width) that has some."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_iou(a, b) -> float:
    """Intersection over union of two boxes that have an area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common)
