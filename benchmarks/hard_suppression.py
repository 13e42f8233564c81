"""Hard suppression, which the paper compares ASNLS with: no mask outside the predicted box."""

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from config.files import write_text
from config.json_text import parse_json, read_lines
from data.loading.letterbox import Letterbox, unletterbox_box
from utils.evaluation.results.measurement import encode_mask


def cut_masks(dump: Path, input_size: int) -> None:
    """Cuts the masks of a dump to the boxes, for `test.py --predictions`.

    `model.nls.hard_suppression` does this with probabilities at the size of the input. With masks
    at the size of the image, the result is the same but for the interpolation at the border.

    Args:
        dump: file of `test.py --dump --dump_masks`, which is replaced.
        input_size: side of the letterboxed input in pixels.
    """
    rows = [parse_json(line, dump, number) for number, line in read_lines(dump)]
    for row in rows:
        mask = coco_mask.decode(row["mask"])
        row["mask"] = encode_mask(cut_to_box(mask, row["box_xyxy_input"], input_size))
    write_text(dump, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def cut_to_box(mask: np.ndarray, box_xyxy_input: list[int], input_size: int) -> np.ndarray:
    """The part of a mask in a box.

    Args:
        mask: (h, w) uint8 at the size of the image.
        box_xyxy_input: whole pixels of the letterboxed input; the last ones are included.
        input_size: side of the letterboxed input in pixels.

    Returns:
        (h, w) uint8, 0 where the center of a pixel lies outside the box.
    """
    height, width = mask.shape
    geometry = Letterbox.fit(width, height, input_size)
    x1, y1, x2, y2 = unletterbox_box(np.add(box_xyxy_input, (0, 0, 1, 1)), geometry)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    inside = ((rows >= y1) & (rows < y2))[:, None] & (columns >= x1) & (columns < x2)
    return mask * inside.astype(np.uint8)
