"""In which pixels the boxes of two dumps are compared: those of an input, or of the image."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from utils.evaluation.metrics import detection_iou

# Inputs have multiples of 32 pixels: neighboring sizes differ by more than this up to 1024 pixels.
_SAME_SIZE = 0.03


def in_one_frame(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """The lines of both dumps with IoU of boxes in the same frame, and notes about it.

    A network's boxes were compared in pixels of its input. If those of the other dump were not, the
    IoU of all boxes is computed anew in pixels of the image.
    """
    both = (ours, theirs)
    with_boxes = all(row["det_iou"] is not None for rows in both for row in rows)
    in_input = [any(row["box_xyxy_input"] is not None for row in rows) for rows in both]
    if with_boxes and all(in_input):
        return ours, theirs, _notes_on_inputs(ours, theirs)
    if not with_boxes or not any(in_input):
        return ours, theirs, []
    name = "AB"[in_input.index(True)]
    truths = [a.get("true_box_xyxy") or b.get("true_box_xyxy") for a, b in zip(*both, strict=True)]
    if None in truths:
        note = f"the boxes of {name} were rounded in the input of its network, the others were not"
        return ours, theirs, [f"{note}: IoU and accuracy of boxes differ slightly for that reason"]
    recomputed = [
        [_with_iou_of_image(row, truth) for row, truth in zip(rows, truths, strict=True)]
        for rows in both
    ]
    note = (
        f"the IoU of all boxes is computed in pixels of the image, because those of {name} alone "
        "were rounded in the input of its network"
    )
    return recomputed[0], recomputed[1], [note]


def _notes_on_inputs(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[str]:
    """A note if two networks have inputs of different sizes, which lines show but do not name."""
    per_image = [_input_scales(rows) for rows in (ours, theirs)]
    common = per_image[0].keys() & per_image[1].keys()
    ratios = [per_image[1][image] / per_image[0][image] for image in common]
    ratio = float(np.median(ratios)) if ratios else 1.0
    if abs(ratio - 1.0) < _SAME_SIZE:
        return []
    return [
        f"the input of the network of B is about {ratio:.2f} times as large as that of A, and "
        "boxes are rounded to its pixels: their IoU and accuracy differ slightly for that reason, "
        "too"
    ]


def _input_scales(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """For each image, pixels of the input per pixel of the image, as its boxes show."""
    sums: dict[str, np.ndarray] = {}
    for row in rows:
        boxes = row["box_xyxy_input"], row["box_xyxy"]
        if None not in boxes:
            extents = [x2 - x1 + y2 - y1 for x1, y1, x2, y2 in boxes]
            sums[row["image"]] = sums.get(row["image"], np.zeros(2)) + extents
    return {
        image: float(inside / outside)
        for image, (inside, outside) in sums.items()
        if min(inside, outside) > 0
    }


def _with_iou_of_image(row: dict[str, Any], truth: Any) -> dict[str, Any]:
    box = row["box_xyxy"]
    iou = 0.0 if box is None else float(detection_iou(np.array(box), np.array(truth)))
    return row | {"det_iou": iou}
