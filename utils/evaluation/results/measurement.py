"""The prediction for one expression compared with the truth, and its line in a dump."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from config.errors import UserError
from config.json_text import MAX_LINE_BYTES, parse_json

# The fields of a line of test.py's --dump, those of dumps of earlier versions, and the mask.
EARLIER = (
    "image", "expression", "box_xyxy", "box_xyxy_input", "score", "det_iou", "seg_iou",
)  # fmt: skip
DUMPED = (*EARLIER, "ref_id", "true_box_xyxy", "intersection", "union")
MASK = "mask"


@dataclass(frozen=True, eq=False)
class Measurement:
    """The prediction for one expression, compared with the ground truth.

    Attributes:
        index: position of the expression in the set.
        image: file name.
        expression: the words.
        box_xyxy: (4,) float, in pixels of the original image; None if no box was predicted.
        box_xyxy_input: (4,) int, rounded, in pixels of the letterboxed input; None for predictions
            that are not compared there.
        score: confidence of the box in 0..1; None if it is not known.
        det_iou, seg_iou: IoU of the box and of the mask.
        intersection, union: of the masks, in pixels.
        true_box_xyxy: (4,) int, in pixels of the original image.
        mask_id, category: of the referent, see `data.loading.annotations.Referent`.
        true_px: pixels of the true mask; None if masks were not compared.
        mask, true_mask: (h, w) at the size of the image; None unless they were requested.
        run_lengths: of the mask, see `encode_mask`; None unless they were requested.
        tasks: "REC" if the box was compared, "RES" if the mask was; the IoU of the other one has
            no meaning.
    """

    index: int
    image: str
    expression: str
    box_xyxy: tuple[float, ...] | None
    box_xyxy_input: tuple[int, ...] | None
    score: float | None
    det_iou: float
    seg_iou: float
    intersection: int
    union: int
    true_box_xyxy: tuple[int, ...]
    mask_id: int
    category: int
    true_px: int | None = None
    mask: np.ndarray | None = None
    true_mask: np.ndarray | None = None
    run_lengths: dict[str, Any] | None = None
    tasks: tuple[str, ...] = ("REC", "RES")

    def to_json(self) -> dict[str, Any]:
        """The fields `DUMPED`, and "mask" if there are run lengths."""
        box, box_input = self.box_xyxy, self.box_xyxy_input
        with_box, with_mask = "REC" in self.tasks, "RES" in self.tasks
        row = {
            "image": self.image,
            "expression": self.expression,
            "box_xyxy": None if box is None else [round(float(v), 3) for v in box],
            "box_xyxy_input": None if box_input is None else [int(v) for v in box_input],
            "score": self.score,
            "det_iou": self.det_iou if with_box else None,
            "seg_iou": self.seg_iou if with_mask else None,
            "ref_id": self.mask_id,
            "true_box_xyxy": [int(v) for v in self.true_box_xyxy],
            "intersection": self.intersection if with_mask else None,
            "union": self.union if with_mask else None,
        }
        return row if self.run_lengths is None else row | {MASK: self.run_lengths}


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encodes a mask (h, w) as COCO's compressed run lengths: {"size": [h, w], "counts": text}."""
    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def is_dumped(row: Any) -> bool:
    """Whether a JSON value is a line of a dump, of this or an earlier version."""
    if not isinstance(row, dict):
        return False
    return row.keys() == {*EARLIER} or row.keys() - {MASK} == {*DUMPED}


def is_dump(path: Path) -> bool:
    """Whether a file is empty or begins like those that --dump writes; no link is."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        line = file.readline(MAX_LINE_BYTES)
    try:
        return not line or is_dumped(parse_json(line, path))
    except UserError:
        return False


def in_order(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Measurements in the order of the set."""
    return sorted(measurements, key=lambda case: case.index)


def dump_lines(measurements: Sequence[Measurement]) -> bytes:
    """The content of a dump, one line per measurement."""
    rows = (json.dumps(case.to_json(), ensure_ascii=False) for case in measurements)
    return "".join(row + "\n" for row in rows).encode()
