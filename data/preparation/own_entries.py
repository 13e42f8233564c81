"""Objects of one's own data as people write them: JSON lines, or a COCO file with expressions.

One JSON object a line:

    {"image": "a.jpg", "box": [10, 20, 110, 220], "polygon": [[10, 20, 110, 20, 60, 220]],
     "expressions": ["the red kite", "kite on the left"], "split": "train"}

`read_json_lines` and `read_coco` give the same `Entry` for both forms. What is wrong with an
object is put on a list, with file, line and key, so that all faults can be told at once.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError

MASK_KEYS = ("polygon", "rle", "mask")
JSON_KEYS = ("image", "box", *MASK_KEYS, "expressions", "split", "category")
_NAME = re.compile(r"[A-Za-z0-9][\w+.-]*")


class EntryError(UserError):
    """What is wrong with one object; the message begins with the key that it is about."""


@dataclass(frozen=True)
class Entry:
    """One object and everything that was said to single it out.

    Attributes:
        where: file and line, or file and annotation, for messages.
        image: image file, as named there.
        expressions: at least one, as written.
        mask_id: number for its mask, no other entry has it.
        split: as written, or None.
        box_xyxy_px: left, top, right, bottom in pixels of the image, or None.
        mask_key: the key that holds its mask, or None.
        mask: polygons or run lengths as `data.preparation.segmentation` reads them, or the
            path of a mask image.
        category: any number; the network does not use it.
        image_size: (width, height) that the file says the image has, or None.
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
    image_size: tuple[int, int] | None = None


def check_name(key: str, name: Any) -> str:
    """Refuses what cannot be the name of a file or folder: EntryError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise EntryError(f"'{key}': {name!r}: letters, digits and _ + - . are wanted")
    return name


def read_json_lines(
    paths: list[Path], faults: list[str], unread: dict[str, int], mask_folder: Path | None = None
) -> list[Entry]:
    """Reads the objects of JSON-lines files; masks are numbered from 1 on.

    Args:
        paths: files; masks named in one are relative to its folder.
        faults: gets a line for each object that cannot be used.
        unread: counts keys that mean nothing here.
        mask_folder: folder of the masks, if it is another one.

    Raises:
        OSError: a file cannot be read.
    """
    entries = []
    for path in paths:
        for where, content in _lines(path, faults):
            for key in content.keys() - set(JSON_KEYS):
                unread[key] = unread.get(key, 0) + 1
            try:
                entry = _from_json(where, content, len(entries) + 1, mask_folder or path.parent)
            except EntryError as fault:
                faults.append(f"{where}: key {fault}")
            else:
                entries.append(entry)
    return entries


def read_coco(
    path: Path, expressions_path: Path | None, faults: list[str]
) -> tuple[list[Entry], int]:
    """Reads the annotations of a COCO file that have expressions.

    Args:
        path: JSON with lists "images" and "annotations"; segmentations are polygons or run
            lengths.
        expressions_path: JSON lines {"ann_id": 17, "expressions": [...]}, "split" if wanted.
            None: the annotations themselves hold "expressions" or "captions".
        faults: gets a line for each object that cannot be used.

    Returns:
        entries, whose masks are numbered as the annotations; annotations without expressions.

    Raises:
        OSError: a file cannot be read.
        ValueError: it is no COCO file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        annotations = {annotation["id"]: annotation for annotation in content["annotations"]}
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a COCO file: lists 'images' and 'annotations' of objects with an 'id' "
            f"are wanted ({type(error).__name__}: {error})"
        ) from None
    said = _said_inside(annotations)
    if expressions_path is not None:
        said = _said_beside(expressions_path, annotations, faults)
    entries = []
    for ann_id, (expressions, split) in said.items():
        where = f"{path}: annotation {ann_id}"
        try:
            entries.append(_from_coco(where, annotations[ann_id], images, expressions, split))
        except EntryError as fault:
            faults.append(f"{where}: key {fault}")
    return entries, len(annotations.keys() - said.keys())


def _lines(path: Path, faults: list[str]) -> Iterator[tuple[str, dict]]:
    """("file:line", object) of each line; what is none goes to `faults`."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                content = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError:
                faults.append(f"{where}: not UTF-8 text")
                continue
            except json.JSONDecodeError as error:
                faults.append(f"{where}: not valid JSON: {error.msg} at column {error.colno}")
                continue
            if isinstance(content, dict):
                yield where, content
            else:
                faults.append(f'{where}: expected one object a line, as {{"image": "a.jpg", …}}')


def _from_json(where, content, mask_id, mask_folder):
    given = [key for key in MASK_KEYS if content.get(key) is not None]
    if len(given) > 1:
        raise EntryError(f"'{given[1]}': one of {', '.join(MASK_KEYS)} is enough, found {given}")
    mask_key = given[0] if given else None
    mask = content[mask_key] if given else None
    if mask_key == "mask":
        mask = mask_folder / _text("mask", mask)
    elif mask_key == "polygon" and not (isinstance(mask, list) and _are_lists(mask)):
        raise EntryError(
            f"'polygon': {_shown(mask)}: a list of polygons [x, y, x, y, …] is wanted, as "
            "[[10, 20, 110, 20, 60, 220]]"
        )
    elif mask_key == "rle" and not isinstance(mask, dict):
        raise EntryError(f'\'rle\': {_shown(mask)}: {{"size": [height, width], "counts": …}}')
    split = content.get("split")
    return Entry(
        where=where,
        image=_text("image", content.get("image")),
        expressions=_expressions("expressions", content.get("expressions")),
        mask_id=mask_id,
        split=None if split is None else check_name("split", split),
        box_xyxy_px=_box("box", content.get("box")),
        mask_key=mask_key,
        mask=mask,
        category=_category("category", content.get("category", 0)),
    )


def _from_coco(where, annotation, images, expressions, split):
    image = images.get(annotation.get("image_id"))
    if image is None:
        raise EntryError(f"'image_id': no image has the id {annotation.get('image_id')!r}")
    box = annotation.get("bbox")
    if box is not None:
        x, y, width, height = _numbers("bbox", box, "[x, y, width, height]")
        box = _box("bbox", [x, y, x + width, y + height])
    split = split or annotation.get("split") or image.get("split")
    size = (image.get("width"), image.get("height"))
    ann_id = annotation["id"]
    if type(ann_id) is not int or ann_id < 0:
        raise EntryError(f"'id': {ann_id!r}: a whole number is wanted, it numbers the mask")
    mask = annotation.get("segmentation") or None
    return Entry(
        where=where,
        image=_text("file_name", image.get("file_name")),
        expressions=expressions,
        mask_id=ann_id,
        split=None if split is None else check_name("split", split),
        box_xyxy_px=box,
        mask_key=None if mask is None else "segmentation",
        mask=mask,
        category=_category("category_id", annotation.get("category_id", 0)),
        image_size=None if None in size else size,
    )


def _said_inside(annotations):
    """Annotation id → (expressions, None), for those that hold any."""
    said = {}
    for ann_id, annotation in annotations.items():
        key = "expressions" if "expressions" in annotation else "captions"
        if annotation.get(key):
            said[ann_id] = (_expressions(key, annotation[key]), None)
    return said


def _said_beside(path, annotations, faults):
    """Annotation id → (expressions, split), of a file of its own."""
    said = {}
    for where, content in _lines(path, faults):
        try:
            ann_id = content.get("ann_id")
            if not isinstance(ann_id, int | str) or ann_id not in annotations:
                raise EntryError(f"'ann_id': the COCO file has no annotation {ann_id!r}")
            split = content.get("split")
            earlier, earlier_split = said.get(ann_id, ((), None))
            if None not in (split, earlier_split) and split != earlier_split:
                raise EntryError(f"'split': {split!r}, but an earlier line says {earlier_split!r}")
            expressions = _expressions("expressions", content.get("expressions"))
            said[ann_id] = (earlier + expressions, split or earlier_split)
        except EntryError as fault:
            faults.append(f"{where}: key {fault}")
    return said


def _text(key, value):
    if not isinstance(value, str) or not value.strip():
        raise EntryError(f"'{key}': {_shown(value)}: the name of a file is wanted")
    return value.strip()


def _expressions(key, value):
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(text, str) and text.strip() for text in value)
    ):
        raise EntryError(f"'{key}': {_shown(value)}: a list of texts is wanted, as [\"red kite\"]")
    return tuple(value)


def _box(key, value):
    if value is None:
        return None
    x1, y1, x2, y2 = _numbers(key, value, "[x1, y1, x2, y2]")
    if not (x1 < x2 and y1 < y2):
        form = "x, y, width, height" if key == "bbox" else "x1, y1, x2, y2"
        raise EntryError(
            f"'{key}': it has no area: {form} in pixels are wanted, found {_shown(value)}"
        )
    return x1, y1, x2, y2


def _numbers(key, value, form):
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(type(v) in (int, float) and math.isfinite(v) for v in value)
    ):
        raise EntryError(f"'{key}': {_shown(value)}: four numbers {form} are wanted")
    return value


def _category(key, value):
    if type(value) is not int or value < 0:
        raise EntryError(f"'{key}': {_shown(value)}: a whole number from 0 on is wanted")
    return value


def _are_lists(values):
    return bool(values) and all(isinstance(value, list) for value in values)


def _shown(value):
    if value is None:
        return "nothing is given"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "…"
