"""The reader of COCO files: tables of images, annotations and categories in JSON.

`read_coco` checks the structure and the ids of the whole file. The other functions check a field
of an image or annotation when it is needed, because each use of a file needs other fields.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import shown
from config.json_text import check_regular
from data.loading.errors import DataError
from data.preparation.json_fields import (
    EntryError,
    expression_list,
    four_numbers,
    parse_json,
    refusal,
    whole_number,
)

# COCO's category ids are 1–90 without ten; in this order, they are the categories 0–79.
UNUSED_COCO_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(number for number in range(1, 91) if number not in UNUSED_COCO_IDS)
COCO_CATEGORIES = tuple(
    """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
    fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant,
    bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard,
    sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle,
    wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
    hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock,
    vase, scissors, teddy bear, hair drier, toothbrush""".replace("\n    ", " ").split(", ")
)  # fmt: skip

COCO_NAMES = dict(zip(COCO_IDS, COCO_CATEGORIES, strict=True))

Id = int | str
Row = dict[str, Any]
MAX_PIXELS = 178_956_970  # Pillow opens no larger images.


@dataclass(frozen=True)
class CocoFile:
    """The tables of a COCO file.

    Attributes:
        path: the file.
        images, annotations, categories: id → JSON object, in the order of the file; there may be
            no categories.
        sha256: SHA-256 of the file in hexadecimal digits.
    """

    path: Path
    images: dict[Id, Row]
    annotations: dict[Id, Row]
    categories: dict[Id, Row]
    sha256: str


def read_coco(path: str | os.PathLike, faults: list[str] | None = None) -> CocoFile:
    """Reads a COCO file.

    Args:
        path: JSON object with the lists "images" and "annotations" and optionally "categories",
            whose objects have an "id".
        faults: receives one line per object whose id is missing or occurs twice; such objects
            are skipped. None: they raise a `DataError`.

    Raises:
        OSError: the file cannot be read.
        DataError: it is not a COCO file; the message names the file and the line or object.
    """
    path = Path(path)
    check_regular(path, DataError)
    document = path.read_bytes()
    digest = hashlib.sha256(document).hexdigest()
    content = parse_json(document, path)
    del document  # Files of hundreds of megabytes would otherwise be in memory twice.
    if not isinstance(content, dict):
        content = {}
    content.setdefault("categories", [])
    row_faults: list[str] = []
    tables = {}
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list):
            raise DataError(
                f"{path}: not a COCO file: it must be a JSON object with lists 'images' and "
                f"'annotations', but there is no list '{name}'"
            )
        tables[name] = _by_id(content[name], f"{path}: {name}", row_faults)
    if faults is not None:
        faults.extend(row_faults)
    elif row_faults:
        more = f" (and {len(row_faults) - 1:,} more faults)" if len(row_faults) > 1 else ""
        raise DataError(row_faults[0] + more)
    return CocoFile(path, **tables, sha256=digest)


def _by_id(rows: list[Any], place: str, faults: list[str]) -> dict[Id, Row]:
    table: dict[Id, Row] = {}
    index_of_id: dict[Id, int] = {}
    row_id: Any
    for index, row in enumerate(rows):
        row_id = row.get("id") if isinstance(row, dict) else None
        if not _is_id(row_id):
            faults.append(
                f"{place}[{index}] is {shown(row)}, but must be an object whose 'id' is a whole "
                "number or a string"
            )
        elif row_id in table:
            faults.append(
                f"{place}[{index}]: key 'id': {shown(row_id)} is also the id of "
                f"{place.rpartition(' ')[2]}[{index_of_id[row_id]}]"
            )
        else:
            table[row_id], index_of_id[row_id] = row, index
    return table


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def look_up(table: Mapping[Id, Row], row: Mapping[str, Any], key: str) -> Row:
    """Finds the object of another table that `row[key]` refers to.

    Args:
        table: id → object, of a `CocoFile`.
        row: the object that refers to it.
        key: "image_id" or "ann_id".

    Raises:
        EntryError: there is no such object.
    """
    row_id: Any = row.get(key)
    if not _is_id(row_id) or row_id not in table:
        name = {"image_id": "image", "ann_id": "annotation"}[key]
        raise refusal(key, row_id, f"the id of an {name} of the COCO file")
    return table[row_id]


def category_names(coco: CocoFile) -> dict[Id, Any]:
    """Id of each category → its "name", which may be missing and is not checked."""
    return {number: category.get("name") for number, category in coco.categories.items()}


def image_size(image: Row) -> tuple[int, int]:
    """Width and height of an image in pixels.

    Raises:
        EntryError: one is missing or not a positive whole number, or no image of this size could
            be opened.
    """
    width = whole_number("width", image.get("width"), minimum=1)
    height = whole_number("height", image.get("height"), minimum=1)
    if width * height > MAX_PIXELS:
        raise refusal("width", width, f"at most {MAX_PIXELS:,} divided by the 'height' {height}")
    return width, height


def box_xywh_px(annotation: Row) -> tuple[float, float, float, float]:
    """Left, top, width and height of a box in pixels.

    Raises:
        EntryError: the box is missing or does not consist of four finite numbers.
    """
    return four_numbers("bbox", annotation.get("bbox"), "[x, y, width, height]")


def expressions_of(annotation: Row) -> tuple[str, ...]:
    """The "expressions" or "captions" of an annotation; empty if it has none.

    Raises:
        EntryError: they are not a list of strings.
    """
    key = "expressions" if "expressions" in annotation else "captions"
    return expression_list(key, annotation[key]) if annotation.get(key) else ()


def attributes_of(annotation: Row) -> dict[str, str | float]:
    """The attributes of an annotation, such as {"colour": "red"}; those that are null are skipped.

    Raises:
        EntryError: they are not an object of strings, numbers and booleans.
    """
    attributes = annotation.get("attributes") or {}
    if not isinstance(attributes, dict) or not all(
        value is None or isinstance(value, str | int | float) for value in attributes.values()
    ):
        raise EntryError(
            f"'attributes' is {shown(attributes)}, but must be an object of strings, numbers and "
            "booleans"
        )
    return {name: value for name, value in attributes.items() if value is not None}
