"""What predict.py is asked to look at, and what it leaves behind."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from config.files import written_atomically
from utils.prediction.photographs import SUFFIXES
from utils.visualization.drawing import draw_prediction

RECORDS = "predictions.jsonl"
NARROWEST, WIDEST = 480, 1280


@dataclass(frozen=True)
class Job:
    """A photograph and what to find in it."""

    image: Path
    expressions: tuple[str, ...]


def jobs_of_images(path, expressions):
    """All expressions in one photograph, or in each photograph of a folder (not below it).

    Raises:
        FileNotFoundError, ValueError: there is nothing of that name, no image in the folder, or
            an expression without words.
    """
    path, expressions = Path(path), tuple(expressions)
    if not all(expression.split() for expression in expressions):
        raise ValueError("an expression is empty: say in words what to find")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such image or folder")
    if not path.is_dir():
        return [Job(path, expressions)]
    images = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not images:
        raise ValueError(f"{path}: no image in this folder; looked for {', '.join(SUFFIXES)}")
    return [Job(image, expressions) for image in images]


def jobs_of_list(path):
    """Jobs of a JSON-lines file, one an image, in the order in which images first appear.

    A line is {"image": "a.jpg", "expression": "the dog"}, or has a list "expressions". Relative
    names start at the folder of the file.

    Raises:
        FileNotFoundError, ValueError: no such file, or a line that is something else; the message
            names file and line.
    """
    path = Path(path)
    expressions = {}
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            image, found = _parse(line, f"{path}:{number}")
            expressions.setdefault(path.parent / image, []).extend(found)
    if not expressions:
        raise ValueError(f"{path}: holds no line")
    return [Job(image, tuple(found)) for image, found in expressions.items()]


def _parse(line, place):
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON: {error.msg} at column {error.colno}") from None
    wanted = '{"image": "a.jpg", "expression": "the dog"} is wanted'
    if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not row["image"]:
        raise ValueError(f'{place}: no "image"; {wanted}')
    found = row.get("expressions", [row.get("expression")])
    if not isinstance(found, list) or not found:
        raise ValueError(f'{place}: "expressions" is no list of texts')
    for text in found:
        if not isinstance(text, str) or not text.split():
            raise ValueError(f'{place}: no "expression"; {wanted}')
    return row["image"], found


class Output:
    """The folder of results: for each prediction a picture, its mask and a line of a file.

    Names are `<image>_<n>.png` and `<image>_<n>_mask.png`; `predictions.jsonl` is written anew,
    line by line, so that what is finished is there when a run is broken off.

    Nothing is touched before the `with` block that it is for begins.

    Args:
        folder: made where it is missing.
        jobs: of the run.

    Raises:
        ValueError: results would stand among the photographs of a folder, or replace one.
    """

    def __init__(self, folder, jobs):
        self.folder = Path(folder)
        names = _unique_names([job.image for job in jobs])
        self._names = dict(zip(jobs, names, strict=True))
        own = self.folder.resolve()
        inside = [job.image for job in jobs if job.image.resolve().parent == own]
        if len(inside) > 1:
            raise ValueError(f"{self.folder} holds the photographs: name another --output")
        planned = {f"{self._names[job]}_{n}.png" for job in jobs for n in _numbers(job)}
        for image in inside:
            if image.name in planned:
                raise ValueError(f"the results would replace {image}: name another --output")
        self._records = None

    def write(self, job, photograph, predictions):
        """Writes the predictions of one photograph.

        Args:
            job: the `Job`.
            photograph: uint8 (h, w, 3).
            predictions: `utils.prediction.predictor.Prediction` of each of its expressions.

        Returns:
            list of dict, the lines written; see README.md.
        """
        records = []
        for number, found in zip(_numbers(job), predictions, strict=True):
            picture, mask = (
                f"{self._names[job]}_{number}{ending}" for ending in (".png", "_mask.png")
            )
            record = record_of(job.image, found)
            record |= {"picture": str(self.folder / picture), "mask": str(self.folder / mask)}
            _save(self.folder / picture, _draw(photograph, found))
            _save(self.folder / mask, found.mask.astype(np.uint8) * 255)
            self._records.write(json.dumps(record, ensure_ascii=False) + "\n")
            records.append(record)
        self._records.flush()
        return records

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self._records = (self.folder / RECORDS).open("w", encoding="utf-8")
        return self

    def __exit__(self, *_):
        self._records.close()


def record_of(image, found):
    """A `Prediction` as plain values; the mask as COCO's compressed run lengths."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(found.mask.astype(np.uint8)))
    height, width = found.mask.shape
    return {
        "image": str(image),
        "expression": found.expression,
        "width": width,
        "height": height,
        "box_xyxy": [round(float(side), 2) for side in found.box_xyxy],
        "score": round(found.score, 4),
        "mask_area": int(found.mask.sum()),
        "mask_rle": {"size": [height, width], "counts": rle["counts"].decode("ascii")},
        "segment_thresh": found.segment_thresh,
        "use_nls": int(found.use_nls),
        "seconds": round(found.seconds, 4),
        "unknown_words": list(found.unknown_words),
        "unread_words": list(found.unread_words),
    }


def text_of(records, image_seconds, as_json):
    """The records of one photograph as JSON lines, or as text for people."""
    if as_json:
        return "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    size = "{width}×{height}".format(**records[0])
    head = f"\n{records[0]['image']}   {size} px   {image_seconds:.2f} s"
    return "\n".join([head, *(_describe(record) for record in records)])


def _describe(record):
    box = ", ".join(f"{side:.1f}" for side in record["box_xyxy"])
    share = record["mask_area"] / (record["width"] * record["height"])
    lines = [
        f"  {record['expression']}",
        f"    box {box}   score {record['score']:.2f}   "
        f"mask {record['mask_area']:,} px ({100 * share:.1f} %)   {record['seconds']:.2f} s",
    ]
    if record["unknown_words"]:
        lines.append(f"    not understood, no vector: {_list(record, 'unknown')}")
    if record["unread_words"]:
        lines.append(f"    not read, too many words: {_list(record, 'unread')}")
    return "\n".join(lines)


def _list(record, kind):
    return ", ".join(record[f"{kind}_words"])


def _numbers(job):
    return range(1, len(job.expressions) + 1)


def _unique_names(images):
    """The stems of image names; where two are the same, the later one gets a number."""
    taken, names = set(), []
    for image in images:
        name, number = image.stem, 2
        while name in taken:
            name, number = f"{image.stem}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _draw(photograph, found):
    width = int(np.clip(max(photograph.shape[:2]), NARROWEST, WIDEST))
    return draw_prediction(
        photograph, found.expression, found.box_xyxy, found.mask, score=found.score, width=width
    )


def _save(path, array):
    with written_atomically(path) as file:
        Image.fromarray(array).save(file, "PNG")
