"""Pictures of measured expressions: predicted and true box and mask over the image."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import shown
from config.schema import PROJECT_ROOT
from data.loading.images import read_image
from data.preparation.json_fields import EntryError, entry_at, four_numbers
from data.preparation.segmentation import SegmentationError, decode_segmentation
from utils.evaluation.results.measurement import MASK, Measurement
from utils.visualization.drawing import draw_prediction
from utils.visualization.panels import contact_sheet

BEST, MEDIAN, WORST = "best", "median", "worst"
MOST_COLUMNS = 6

Ranked = dict[str, list[Measurement]]


def draw_measurement(
    image_path: str | os.PathLike,
    case: Measurement,
    unknown_words: Sequence[str] = (),
    unread_words: Sequence[str] = (),
) -> np.ndarray:
    """Draws one expression, with the masks that the measurement contains.

    Args:
        image_path: folder of the images.
        case: the measurement.
        unknown_words, unread_words: see `utils.visualization.drawing.draw_prediction`.

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
        unknown_words=unknown_words,
        unread_words=unread_words,
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


def rank(measured: Sequence[Measurement], count: int) -> Ranked:
    """Chooses the `count` best, median and worst expressions of a set.

    Expressions are ranked by the mean of box and mask IoU.

    Args:
        measured: `Measurement` of every expression that was evaluated.
        count: expressions of each kind; fewer if the set is smaller.

    Returns:
        `BEST`, `MEDIAN` and `WORST` → measurements, best first.
    """
    quality = np.array([case.det_iou + case.seg_iou for case in measured])
    ranked = [measured[number] for number in np.argsort(-quality, kind="stable")]
    count = min(count, len(ranked))
    middle = (len(ranked) - count) // 2
    return {
        BEST: ranked[:count],
        MEDIAN: ranked[middle : middle + count],
        WORST: ranked[len(ranked) - count :],
    }


def sheet_of(
    measured: Sequence[Measurement],
    count: int,
    name: str,
    draw: Callable[[Sequence[int]], Sequence[np.ndarray]],
) -> np.ndarray:
    """Draws the `count` best, median and worst expressions of a set, under one heading each.

    Args:
        measured, count: as in `rank`.
        name: of the set, for the title, see `set_name`.
        draw: draws the expressions at some positions in the set, see `draw_measurement`.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    sections = {
        heading(kind, cases, len(measured)): draw([case.index for case in cases])
        for kind, cases in rank(measured, count).items()
    }
    title = f"{name}: {len(measured):,} expressions"
    return contact_sheet(sections, min(count, MOST_COLUMNS), title)


def set_name(path: str | os.PathLike) -> str:
    """Names a set on pictures by its annotation file: "data/anns/refcoco/val.txt"."""
    path = Path(path)
    if path.is_relative_to(PROJECT_ROOT):
        return str(path.relative_to(PROJECT_ROOT))
    return f"{path.parent.name}/{path.name}"


def heading(kind: str, cases: Sequence[Measurement], n_measured: int) -> str:
    """The heading of a kind of expressions, with the IoU of the tasks that were measured.

    Returns:
        "best 6 of 402: mean box IoU 0.93, mean mask IoU 0.90".
    """
    tasks, ious = cases[0].tasks, []
    if "REC" in tasks:
        ious.append(f"mean box IoU {np.mean([case.det_iou for case in cases]):.2f}")
    if "RES" in tasks:
        ious.append(f"mean mask IoU {np.mean([case.seg_iou for case in cases]):.2f}")
    return f"{kind} {len(cases):,} of {n_measured:,}: {', '.join(ious)}"
