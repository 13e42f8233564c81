"""Reads predictions: JSON lines, or a JSON list of the same objects.

    {"image": "a.jpg", "expression": "red kite", "box_xyxy": [10, 20, 110, 220], "score": 0.9}

docs/evaluation.md describes the keys. Lines of test.py's --dump, of predict.py's
predictions.jsonl and of Ref-L4's prediction files are read as they are.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError, shown
from config.json_text import parse_json, read_lines
from data.preparation.json_fields import (
    MAX_NUMBER,
    EntryError,
    expression_id,
    file_name,
    four_numbers,
    refusal,
    single_expression,
    whole_number,
)
from utils.evaluation.results.measurement import is_dumped

# Of several masks of a row, the first in this order counts; each may be in any of the forms.
MASK_KEYS = ("mask_rle", "mask", "segmentation")
BOX_KEYS = ("box_xyxy", "bbox", "pred_bbox")
# Each of them names referents; an expression has an id, or is named by its text as well.
REFERENT_KEYS = ("image", "ref_id", "ann_id", "sent_id")
KEYS = (*REFERENT_KEYS, "id", "expression", *BOX_KEYS, "format", *MASK_KEYS, "score")
XYXY, XYWH = FORMATS = ("xyxy", "xywh")
MAX_LIST_BYTES = 100_000_000  # Of a JSON list, which is parsed as a whole, to several times that.
# They name things that are not read, and are no misspelled names of others.
NOT_READ = ("image_id", "category_id")


@dataclass(frozen=True)
class Row:
    """One prediction.

    Attributes:
        where: file and line or entry, for messages.
        image: name or path of the image, or None.
        ref_id: mask-id of the referent, or None.
        ann_id: id of its annotation in the data set, or None.
        sent_id: id of the expression in the data set, or None.
        sample_id: id of the expression in own data that was imported with such ids, or None.
            Beside other keys, in sets without such ids, it is that of something else.
        expression: the expression, or None.
        box_xyxy_px: left, top, right, bottom in pixels of the image; None for no box.
        box_format: "xyxy" or "xywh", how it was written.
        box_fault: why the box cannot be used although it consists of four numbers, beginning with
            its key, or None. There is no box then.
        box_xyxy_input: the same in pixels of a network's letterboxed input, rounded, as dumps
            contain it, or None.
        mask_key: the key that contains the mask, or None.
        mask: polygons or run lengths, see `data.preparation.segmentation`, or the path of a mask
            image; None for no mask.
        score: confidence, of any range, or None.
    """

    where: str
    image: str | None = None
    ref_id: int | None = None
    ann_id: int | str | None = None
    sent_id: int | None = None
    sample_id: int | None = None
    expression: str | None = None
    box_xyxy_px: tuple[float, float, float, float] | None = None
    box_format: str = "xyxy"
    box_fault: str | None = None
    box_xyxy_input: tuple[int, int, int, int] | None = None
    mask_key: str | None = None
    mask: Any = None
    score: float | None = None

    @property
    def needs_ids(self) -> bool:
        """Whether ids of the data set may name the referent, which lines do not hold."""
        return any(value is not None for value in (self.ann_id, self.sent_id, self.sample_id))

    @property
    def is_named_by_id(self) -> bool:
        """Whether `sample_id` is the only key that names the expression."""
        others = (self.image, self.ref_id, self.ann_id, self.sent_id)
        return self.sample_id is not None and all(value is None for value in others)


def read_rows(path: Path) -> list[Row]:
    """Reads the predictions of a file.

    Raises:
        UserError: it holds none, one cannot be used, or more than half of the boxes end before
            they begin, as in another format; the message names file, line and key.
        OSError: the file cannot be read.
    """
    rows = []
    for where, content in _objects(path):
        if not isinstance(content, dict):
            raise UserError(f"{where}: holds {shown(content)}, but must be an object such as "
                            '{"image": "a.jpg", "expression": "red kite", …}')  # fmt: skip
        try:
            rows.append(_row(where, content, path.parent))
        except EntryError as error:
            raise UserError(f"{where}: key {error}{_hint(content)}") from None
    if not rows:
        raise UserError(f"{path}: holds no prediction; write one JSON object per line")
    faults = [row for row in rows if row.box_fault is not None]
    if 2 * len(faults) > sum(row.box_xyxy_px is not None for row in rows) + len(faults):
        raise UserError(f"{faults[0].where}: key {faults[0].box_fault}")
    return rows


def check_file(path: Path) -> None:
    """Raises `UserError` if there is no such file, or it is a folder, pipe or device."""
    if not path.is_file():
        kind = "not a file" if path.exists() else "no such file"
        raise UserError(f"{path}: {kind}; --predictions names a file of JSON lines or a JSON list")


def _objects(path: Path) -> Iterator[tuple[str, Any]]:
    """("file:line", value) of each line, or ("file: entry number", value) of a list."""
    check_file(path)
    if not _begins_a_list(path):
        for number, line in read_lines(path, UserError):
            yield f"{path}:{number}", parse_json(line, path, number, UserError)
        return
    if path.stat().st_size > MAX_LIST_BYTES:
        raise UserError(
            f"{path}: has more than {MAX_LIST_BYTES:,} bytes; write one object per line instead of "
            "a list"
        )
    values = parse_json(path.read_bytes(), path, 1, UserError)
    if not isinstance(values, list):
        raise UserError(f"{path}: begins with '[', but is no JSON list; write one object per line")
    for number, value in enumerate(values, start=1):
        yield f"{path}: entry {number}", value


def _begins_a_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _row(where: str, content: Mapping[str, Any], folder: Path) -> Row:
    """Reads one object; raises EntryError for the first fault."""
    given = {key: value for key, value in content.items() if value is not None}
    if not given.keys() & {*REFERENT_KEYS}:
        if "id" not in given:
            raise refusal(
                "image",
                None,
                "the name of the image; ref_id, the mask-id, ann_id, sent_id, or the id of Ref-L4 "
                "can stand in its place",
            )
        expression_id("id", given["id"])
    elif given.keys() & {*REFERENT_KEYS} == {"image"} and "expression" not in given:
        raise refusal("expression", None, 'an expression such as "red kite"')
    mask_key = next((key for key in MASK_KEYS if key in given), None)
    return Row(
        where,
        image=file_name("image", given["image"]) if "image" in given else None,
        ref_id=whole_number("ref_id", given["ref_id"]) if "ref_id" in given else None,
        ann_id=_ann_id(given["ann_id"]) if "ann_id" in given else None,
        sent_id=expression_id("sent_id", given["sent_id"]) if "sent_id" in given else None,
        sample_id=_sample_id(given.get("id")),
        expression=(
            single_expression("expression", given["expression"]) if "expression" in given else None
        ),
        **_box(given),
        box_xyxy_input=_input_box(given) if is_dumped(content) else None,
        mask_key=mask_key,
        mask=None if mask_key is None else _mask(mask_key, given[mask_key], folder),
        score=_score(given.get("score")),
    )


def _sample_id(value: Any) -> int | None:
    """The id of an expression, if it can be one: beside other keys, it may be anything."""
    try:
        return None if value is None else expression_id("id", value)
    except EntryError:
        return None


def _ann_id(value: Any) -> int | str:
    return value if isinstance(value, str) else whole_number("ann_id", value)


def _box(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Row` about the box."""
    keys = [key for key in BOX_KEYS if key in given]
    if len(keys) > 1:
        raise EntryError(f"'{keys[1]}' is a second box beside '{keys[0]}'; keep one of them")
    if not keys:
        return {}
    (key,) = keys
    form = XYXY if key == "box_xyxy" else given.get("format", XYWH if key == "bbox" else None)
    if form not in FORMATS:
        raise refusal("format", form, '"xyxy" or "xywh"')
    if form == XYXY:
        x1, y1, x2, y2 = four_numbers(key, given[key], "[left, top, right, bottom]")
        fault = (
            f"'{key}' is {shown(given[key])}, which is no [left, top, right, bottom]; if it is "
            '[left, top, width, height], write it as \'bbox\' with "format": "xywh"'
        )
    else:
        x1, y1, width, height = four_numbers(key, given[key], "[left, top, width, height]")
        x2, y2 = x1 + width, y1 + height
        fault = (
            f"'{key}' is {shown(given[key])}, whose width or height is negative; if it is [left, "
            'top, right, bottom], add "format": "xyxy"'
        )
    if x2 < x1 or y2 < y1:
        return {"box_format": form, "box_fault": fault}
    return {"box_format": form, "box_xyxy_px": (x1, y1, x2, y2)}


def _input_box(given: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
    if "box_xyxy_input" not in given:
        return None
    numbers = four_numbers("box_xyxy_input", given["box_xyxy_input"], "in pixels of the input")
    x1, y1, x2, y2 = (int(value) for value in numbers)
    return x1, y1, x2, y2


def _mask(key: str, value: Any, folder: Path) -> Any:
    """Run lengths or polygons as they are, or the path of a mask image, relative to the file."""
    if isinstance(value, dict | list):
        return value
    if isinstance(value, str):
        return folder / file_name(key, value)
    raise refusal(key, value, "run lengths, polygons or the name of a PNG file")


def _score(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not abs(value) <= MAX_NUMBER:
        raise refusal("score", value, "a number")
    return float(value)


def _hint(content: Mapping[str, Any]) -> str:
    for key in content:
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.75)
        if key not in (*KEYS, *NOT_READ) and near and near[0] not in content:
            return f"; did you mean '{near[0]}' instead of {shown(key)}?"
    return ""
