"""Objects of own data as users write them, and the reader of JSON lines.

Each line describes one object:

    {"image": "a.jpg", "box": [10, 20, 110, 220], "polygon": [[10, 20, 110, 20, 60, 220]],
     "expressions": ["the red kite", "kite on the left"], "split": "train"}

Faults are collected with file, line and key, so that all of them can be reported at once.
"""

import collections
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.errors import shortened, shown
from config.json_text import read_lines
from data.loading.errors import DataError
from data.preparation.json_fields import (
    EntryError,
    expression_id,
    expression_list,
    file_name,
    four_numbers,
    parse_json,
    refusal,
    whole_number,
)
from data.preparation.wording import plural

MASK_KEYS = ("polygon", "rle", "mask")
JSON_KEYS = ("image", "box", *MASK_KEYS, "expressions", "split", "category", "id")
KEYS_SHOWN = 10  # Of the unknown keys.
# Files are named after splits and data sets; names of files may have 255 bytes.
_NAME = re.compile(r"[A-Za-z0-9][\w+.-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """One object and the expressions that refer to it, not yet checked against the image.

    Attributes:
        where: file and line, or file and annotation, for messages.
        image: name of the image file, as written.
        expressions: at least one, as written.
        mask_id: number of its mask, different for each entry.
        split: as written, or None.
        box_xyxy_px: left, top, right, bottom in pixels of the image, or None.
        mask_key: the key that contains the mask, or None.
        mask: polygons or run lengths for `data.preparation.segmentation`, or the path of a mask
            image.
        category: any number; the network does not use it.
        sample_id: id of its only expression in the data set, by which predictions may name it, or
            None.
        image_size: (width, height) of the image according to the file, or None.
    """

    where: str
    image: str
    expressions: tuple[str, ...]
    mask_id: int
    split: str | None = None
    box_xyxy_px: tuple[float, float, float, float] | None = None
    mask_key: str | None = None
    mask: Any = None
    category: int = 0
    sample_id: int | None = None
    image_size: tuple[int, int] | None = None


@dataclass
class OwnData:
    """What a reader of own data returns.

    Attributes:
        entries: the objects without a fault.
        faults: faults of the other objects, with file, line and key.
        notes: what was ignored.
        inputs: the files that were read.
    """

    entries: list[Entry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: list[Path] = field(default_factory=list)


def check_name(key: str, name: Any) -> str:
    """Checks that a value can be the name of a file or folder.

    Raises:
        EntryError: it is not a string, contains other characters, or is too long.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise refusal(key, name, "a name of up to 100 letters A-Z, digits and _ + - .")
    return name


def read_json_lines(paths: Iterable[Path], mask_folder: Path | None = None) -> OwnData:
    """Reads the objects of JSON-lines files and numbers their masks from 1.

    Args:
        paths: the files.
        mask_folder: folder of the mask images; None: the folder of the file that names them.

    Raises:
        OSError: a file cannot be read.
    """
    data = OwnData(inputs=list(paths))
    ignored: collections.Counter[str] = collections.Counter()
    for path in data.inputs:
        for where, content in json_lines(path, data.faults):
            unknown = [key for key in content if key not in JSON_KEYS]
            ignored.update(unknown)
            try:
                entry = _entry(where, content, len(data.entries) + 1, mask_folder or path.parent)
            except EntryError as error:
                hints = "".join(_suggestion(key) for key in unknown[:KEYS_SHOWN])
                data.faults.append(f"{where}: key {error}{hints}")
            else:
                data.entries.append(entry)
    for key, count in sorted(ignored.items())[:KEYS_SHOWN]:
        lines = plural(count, "line")
        data.notes.append(f"unknown key '{shortened(key)}' ignored in {lines}{_suggestion(key)}")
    if len(ignored) > KEYS_SHOWN:
        data.notes.append(f"{plural(len(ignored) - KEYS_SHOWN, 'more unknown key')} ignored")
    return data


def json_lines(path: Path, faults: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields ("file:line", object) for each line; lines without an object are added to `faults`."""
    for number, line in read_lines(path, DataError):
        try:
            content = parse_json(line, path, number)
        except DataError as error:
            faults.append(str(error))
            continue
        if isinstance(content, dict):
            yield f"{path}:{number}", content
        else:
            faults.append(
                f'{path}:{number}: each line must be an object such as {{"image": "a.jpg", …}}'
            )


def _suggestion(key: str) -> str:
    near = difflib.get_close_matches(key, JSON_KEYS, n=1)
    return f"; did you mean '{near[0]}' instead of '{shortened(key)}'?" if near else ""


def _entry(where: str, content: Mapping[str, Any], mask_id: int, mask_folder: Path) -> Entry:
    mask_key, mask = _mask(content, mask_folder)
    split = content.get("split")
    expressions = expression_list("expressions", content.get("expressions"))
    if content.get("id") is not None and len(expressions) > 1:
        raise EntryError(
            f"'id' names one expression, but there are {len(expressions)}; write a line for each, "
            "or leave the id out"
        )
    return Entry(
        where=where,
        image=file_name("image", content.get("image")),
        expressions=expressions,
        mask_id=mask_id,
        split=None if split is None else check_name("split", split),
        box_xyxy_px=_box_xyxy_px(content.get("box")),
        mask_key=mask_key,
        mask=mask,
        category=whole_number("category", content.get("category", 0)),
        sample_id=None if content.get("id") is None else expression_id("id", content["id"]),
    )


def _box_xyxy_px(value: Any) -> tuple[float, float, float, float] | None:
    if value is None:
        return None
    form = "[x1, y1, x2, y2]"
    x1, y1, x2, y2 = four_numbers("box", value, form)
    if not (x1 < x2 and y1 < y2):
        raise refusal("box", value, f"{form} in pixels with a positive area")
    return x1, y1, x2, y2


def _mask(content: Mapping[str, Any], mask_folder: Path) -> tuple[str | None, Any]:
    """The key that contains the mask and the mask, or (None, None)."""
    given = [key for key in MASK_KEYS if content.get(key) is not None]
    if not given:
        return None, None
    if len(given) > 1:
        raise EntryError(
            f"'{given[1]}' must not be combined with '{given[0]}': only one of "
            f"{', '.join(MASK_KEYS)} is allowed"
        )
    (key,) = given
    mask = content[key]
    if key == "mask":
        return key, mask_folder / file_name(key, mask)
    if key == "rle" and not isinstance(mask, dict):
        raise refusal(key, mask, 'run lengths {"size": [height, width], "counts": …}')
    if key == "polygon" and not _is_list_of_lists(mask):
        raise EntryError(
            f"'polygon' is {shown(mask)}, but must be a list of polygons [x, y, x, y, …] such as "
            "[[10, 20, 110, 20, 60, 220]]"
        )
    return key, mask


def _is_list_of_lists(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, list) for v in value)
