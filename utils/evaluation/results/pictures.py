"""Pictures of measured expressions: predicted and true box and mask over the image."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import shown
from data.loading.images import read_image
from data.preparation.json_fields import EntryError, entry_at, four_numbers
from data.preparation.segmentation import SegmentationError, decode_segmentation
from utils.evaluation.results.measurement import MASK, Measurement
from utils.visualization.drawing import draw_prediction
from utils.visualization.panels import contact_sheet


def draw_measurement(image_path: str | os.PathLike, case: Measurement) -> np.ndarray:
    """Draws one expression, with the masks that the measurement contains.

    Returns:
        (h, w, 3) uint8, RGB.

    Raises:
        DataError: the image cannot be read.
    """
    return draw_prediction(
        np.asarray(read_image(Path(image_path) / case.image)),
        case.expression,
        case.box_xyxy,
        case.mask,
        case.true_box_xyxy,
        case.true_mask,
        case.score,
        case.det_iou if "REC" in case.tasks else None,
        case.seg_iou if "RES" in case.tasks else None,
    )


def draw_dumped(image_path: str | os.PathLike, row: Mapping[str, Any], before: str) -> np.ndarray:
    """Draws a line of a dump, with the mask and the true box that it contains.

    Args:
        image_path: folder of the images.
        row: the line.
        before: text before the expression.

    Returns:
        (h, w, 3) uint8, RGB.

    Raises:
        DataError: the image cannot be read, a box is damaged, or the mask is damaged or of another
            size.
    """
    image = np.asarray(read_image(Path(image_path) / row["image"]))
    height, width = image.shape[:2]
    mask, runs = None, row.get(MASK)
    place = f"the line of {row['image']}: {shown(row['expression'])}"
    with entry_at(place):
        boxes = [
            None if row.get(key) is None else four_numbers(key, row[key], "x1, y1, x2, y2")
            for key in ("box_xyxy", "true_box_xyxy")
        ]
        try:
            mask = None if runs is None else decode_segmentation(runs, width, height)
        except SegmentationError as error:
            raise EntryError(f"'{MASK}': {error}") from None
    return draw_prediction(
        image,
        before + row["expression"],
        boxes[0],
        mask,
        boxes[1],
        None,
        None,
        row["det_iou"],
        row["seg_iou"],
    )


def sheet_of(
    measured: Sequence[Measurement],
    count: int,
    draw: Callable[[Sequence[int]], Sequence[np.ndarray]],
) -> np.ndarray:
    """Draws the `count` best, median and worst expressions of a set, one row each.

    Expressions are ranked by the mean of box and mask IoU.

    Args:
        measured: `Measurement` of every expression that was evaluated.
        count: pictures per row; fewer if the set is smaller.
        draw: draws the expressions at some positions in the set, see `draw_measurement`.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    quality = np.array([case.det_iou + case.seg_iou for case in measured])
    ranked = np.argsort(-quality, kind="stable")
    count = min(count, len(ranked))
    middle = (len(ranked) - count) // 2
    rows = [ranked[:count], ranked[middle : middle + count], ranked[-count:]]
    panels = draw([measured[number].index for number in np.concatenate(rows)])
    return contact_sheet(panels, count, f"best, median and worst {count} of {len(ranked)}")
