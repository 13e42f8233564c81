"""The results that predict.py writes and prints: pictures, masks and records."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np
from pycocotools import mask as coco_mask

from config.errors import UserError
from utils.prediction.jobs import Job
from utils.prediction.prediction import Prediction
from utils.visualization.drawing import draw_prediction
from utils.visualization.png import save_png

RECORDS = "predictions.jsonl"
NARROWEST_PICTURE, WIDEST_PICTURE = 480, 1280


class Output:
    """The folder of results, which holds a picture, a mask and a record for each prediction.

    Files are named `<image>_<n>.png` and `<image>_<n>_mask.png`. `predictions.jsonl` is rewritten
    line by line, so that an interrupted run leaves the records of what is finished. Nothing is
    written before the `with` block begins.

    Args:
        folder: the folder; created if it does not exist.
        jobs: the jobs of the run.

    Raises:
        UserError: the results would be mixed with the photographs, or replace one of them.
    """

    _records: TextIO  # open within the `with` block

    def __init__(self, folder: str | os.PathLike, jobs: Sequence[Job]) -> None:
        self.folder = Path(folder)
        names = _unique_names([job.image for job in jobs])
        self._names = dict(zip(jobs, names, strict=True))
        resolved = self.folder.resolve()
        inside = [job.image for job in jobs if job.image.resolve().parent == resolved]
        if len(inside) > 1:
            raise UserError(f"{self.folder} holds the photographs: name another --output")
        planned = {f"{self._names[job]}_{n}.png" for job in jobs for n in _numbers(job)}
        for image in inside:
            if image.name in planned:
                raise UserError(f"the results would replace {image}: name another --output")

    def write(
        self, job: Job, photograph: np.ndarray, predictions: Sequence[Prediction]
    ) -> list[dict]:
        """Writes the predictions for one photograph.

        Args:
            job: the `Job`.
            photograph: (h, w, 3) uint8, RGB.
            predictions: one `Prediction` per expression of the job.

        Returns:
            The records written, one per prediction: what `to_record` returns, and the paths
            "picture" and "mask".
        """
        records = []
        for number, prediction in zip(_numbers(job), predictions, strict=True):
            picture = self.folder / f"{self._names[job]}_{number}.png"
            mask = self.folder / f"{self._names[job]}_{number}_mask.png"
            save_png(picture, _draw(photograph, prediction))
            save_png(mask, prediction.mask.astype(np.uint8) * 255)
            record = to_record(job.image, prediction)
            record |= {"picture": str(picture), "mask": str(mask)}
            self._records.write(json.dumps(record, ensure_ascii=False) + "\n")
            records.append(record)
        self._records.flush()
        return records

    def __enter__(self) -> "Output":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._records = (self.folder / RECORDS).open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._records.close()


def to_record(image: str | os.PathLike, prediction: Prediction) -> dict:
    """Converts a `Prediction` to plain values, as a line of predictions.jsonl holds them.

    The box is left, top, right, bottom in pixels of the photograph, whose size is width and height.
    The mask is given as COCO's compressed run lengths.
    """
    rle = coco_mask.encode(np.asfortranarray(prediction.mask.astype(np.uint8)))
    height, width = prediction.mask.shape
    return {
        "image": str(image),
        "expression": prediction.expression,
        "width": width,
        "height": height,
        "box_xyxy": [round(float(value), 2) for value in prediction.box_xyxy],
        "score": round(prediction.score, 4),
        "mask_area": int(prediction.mask.sum()),
        "mask_rle": {"size": [height, width], "counts": rle["counts"].decode("ascii")},
        "segment_thresh": prediction.segment_thresh,
        "use_nls": int(prediction.use_nls),
        "seconds": round(prediction.seconds, 4),
        "unknown_words": list(prediction.unknown_words),
        "unread_words": list(prediction.unread_words),
    }


def format_records(records: Sequence[dict], image_seconds: float, as_json: bool) -> str:
    """Formats the records of one photograph for the terminal.

    Args:
        records: of `Output.write`.
        image_seconds: time taken to encode the photograph.
        as_json: whether to return JSON lines instead of text.
    """
    if as_json:
        return "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    size = "{width}×{height}".format(**records[0])
    head = f"\n{records[0]['image']}   {size} px   {image_seconds:.2f} s"
    return "\n".join([head, *(_format_record(record) for record in records)])


def _format_record(record):
    box = ", ".join(f"{value:.1f}" for value in record["box_xyxy"])
    share = record["mask_area"] / (record["width"] * record["height"])
    lines = [
        f"  {record['expression']}",
        f"    box {box}   score {record['score']:.2f}   "
        f"mask {record['mask_area']:,} px ({100 * share:.1f} %)   {record['seconds']:.2f} s",
    ]
    if record["unknown_words"]:
        lines.append(f"    unknown words, ignored: {', '.join(record['unknown_words'])}")
    if record["unread_words"]:
        lines.append(f"    words beyond the limit, ignored: {', '.join(record['unread_words'])}")
    return "\n".join(lines)


def _numbers(job):
    return range(1, len(job.expressions) + 1)


def _unique_names(images):
    """The stems of image names; where two are equal, the later one gets a number."""
    taken, names = set(), []
    for image in images:
        name, number = image.stem, 2
        while name in taken:
            name, number = f"{image.stem}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _draw(photograph, prediction):
    width = int(np.clip(max(photograph.shape[:2]), NARROWEST_PICTURE, WIDEST_PICTURE))
    return draw_prediction(
        photograph,
        prediction.expression,
        prediction.box_xyxy,
        prediction.mask,
        score=prediction.score,
        width=width,
    )
