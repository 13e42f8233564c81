"""Warnings about boxes that seem to be written in another form than the one they are read in."""

from collections.abc import Callable, Sequence

import numpy as np

from data.loading.annotations import Referent
from data.loading.errors import DataError
from utils.evaluation.metrics import detection_iou
from utils.evaluation.scoring.rows import XYWH, XYXY, Row

NEARLY_ALL = 0.9
FEWEST_BOXES = 5  # Fewer say nothing about a format.
FAR_BETTER = 0.1  # By which the mean IoU of another reading exceeds that of the given one.
SIZES_READ = 100  # Images whose sizes are read.
NAMES = {XYXY: "left, top, right, bottom", XYWH: "left, top, width, height"}

Pairs = Sequence[tuple[Row, Referent]]


def box_doubts(
    rows: Sequence[Row | None],
    referents: Sequence[Referent],
    size_of: Callable[[str], tuple[int, int]],
) -> list[str]:
    """Compares each box with the true one as it is read, in the other format and at other scales.

    Boxes of dumps, which give the box in the input of a network as well, are not doubted.

    Args:
        rows: the prediction for each expression of a set, or None.
        referents: referents of the set.
        size_of: name of an image → (width, height) in pixels; may raise DataError.

    Returns:
        Sentences for people; none if nothing is odd.
    """
    truths = [referent for referent in referents for _ in referent.expressions]
    pairs = [
        (row, referent)
        for row, referent in zip(rows, truths, strict=True)
        if row is not None and row.box_xyxy_px is not None and row.box_xyxy_input is None
    ]
    found = _fractions(pairs)
    if found:
        return found
    for form in (XYXY, XYWH):
        found += _other_format([pair for pair in pairs if pair[0].box_format == form], form)
    return found or _thousandths(pairs, size_of)


def _fractions(pairs: Pairs) -> list[str]:
    boxes, _ = _boxes_and_truths(pairs)
    largest = np.abs(boxes).max(axis=1, initial=0)
    largest = largest[largest > 0]
    count = int((largest <= 1).sum())
    if not count or count < NEARLY_ALL * len(largest):
        return []
    return [
        f"{count:,} of {len(largest):,} boxes are within 0..1, but boxes are read in pixels of the "
        "image; multiply them by its width and height"
    ]


def _other_format(pairs: Pairs, form: str) -> list[str]:
    boxes, truths = _boxes_and_truths(pairs)
    other = boxes.copy()
    other[:, 2:] += boxes[:, :2] if form == XYXY else -boxes[:, :2]
    means = _better(boxes, other, truths)
    if means is None:
        return []
    of_other = XYWH if form == XYXY else XYXY
    return [
        f"boxes are read as {NAMES[form]} (mean IoU {means[0]:.2f}), but fit far better as "
        f"{NAMES[of_other]} ({means[1]:.2f}); if they are meant so, write them as 'bbox' with "
        f'"format": "{of_other}"'
    ]


def _thousandths(pairs: Pairs, size_of: Callable[[str], tuple[int, int]]) -> list[str]:
    names = list(dict.fromkeys(referent.image for _, referent in pairs))
    sizes = {}
    for name in names[:: max(1, len(names) // SIZES_READ)][:SIZES_READ]:
        try:
            sizes[name] = size_of(name)
        except (DataError, OSError):
            continue  # Boxes are compared without images.
    some = [pair for pair in pairs if pair[1].image in sizes]
    boxes, truths = _boxes_and_truths(some)
    scale = np.array([sizes[referent.image] * 2 for _, referent in some]).reshape(-1, 4)
    means = _better(boxes, boxes * scale / 1000, truths)
    if means is None:
        return []
    return [
        f"boxes are read in pixels of the image (mean IoU {means[0]:.2f}), but fit far better in "
        f"thousandths of its width and height ({means[1]:.2f}); convert them if they are meant so"
    ]


def _boxes_and_truths(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The predicted and the true boxes, float64 (n, 4) each."""
    boxes = np.array([row.box_xyxy_px for row, _ in pairs], np.float64).reshape(-1, 4)
    truths = np.array([referent.box_xyxy_px for _, referent in pairs], np.float64).reshape(-1, 4)
    return boxes, truths


def _better(boxes: np.ndarray, other: np.ndarray, truths: np.ndarray) -> list[float] | None:
    """The mean IoU of both readings if the other one is far better."""
    if len(boxes) < FEWEST_BOXES:
        return None
    means = []
    for some in (boxes, other):
        is_box = (some[:, 2:] >= some[:, :2]).all(axis=1)
        means.append(float(np.where(is_box, detection_iou(some, truths), 0).mean()))
    return means if means[1] > means[0] + FAR_BETTER else None
