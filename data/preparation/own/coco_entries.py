"""Own data in COCO format: the annotations of a COCO file that have expressions."""

from collections.abc import Sequence
from pathlib import Path

from config.errors import shown
from data.preparation.coco import (
    CocoFile,
    Id,
    Row,
    box_xywh_px,
    expressions_of,
    image_size,
    look_up,
    read_coco,
)
from data.preparation.json_fields import (
    EntryError,
    expression_list,
    file_name,
    refusal,
    whole_number,
)
from data.preparation.own.entries import Entry, OwnData, check_name, json_lines
from data.preparation.wording import plural

# Annotation id → its expressions and split.
_Expressions = dict[Id, tuple[tuple[str, ...], str | None]]


def read_coco_entries(path: Path, expressions_path: Path | None = None) -> OwnData:
    """Reads the annotations of a COCO file that have expressions; their ids number the masks.

    Args:
        path: COCO file; segmentations are polygons or run lengths.
        expressions_path: JSON lines {"ann_id": 17, "expressions": [...]}, with an optional
            "split". None: the annotations themselves have "expressions" or "captions".

    Raises:
        OSError: a file cannot be read.
        DataError: `path` is not a COCO file.
    """
    data = OwnData(inputs=[path] if expressions_path is None else [path, expressions_path])
    coco = read_coco(path, data.faults)
    inside = _expressions_inside(coco, data.faults if expressions_path is None else [])
    expressions = inside
    if expressions_path is not None:
        expressions = _expressions_beside(expressions_path, coco, data.faults)
        if inside:
            data.notes.append(
                f"the expressions of {plural(len(inside), 'annotation')} were ignored, because "
                "--expressions replaces them"
            )
    for annotation_id, (texts, split) in expressions.items():
        where = f"{path}: annotation {shown(annotation_id)}"
        try:
            data.entries.append(_entry(where, coco, annotation_id, texts, split))
        except EntryError as error:
            data.faults.append(f"{where}: key {error}")
    without = len(coco.annotations.keys() - expressions.keys())
    if without:
        data.notes.append(f"{plural(without, 'annotation')} without expressions skipped")
    return data


def _expressions_inside(coco: CocoFile, faults: list[str]) -> _Expressions:
    """The expressions of those annotations that have any."""
    expressions: _Expressions = {}
    for annotation_id, annotation in coco.annotations.items():
        try:
            texts = expressions_of(annotation)
        except EntryError as error:
            faults.append(f"{coco.path}: annotation {shown(annotation_id)}: key {error}")
            continue
        if texts:
            expressions[annotation_id] = (texts, None)
    return expressions


def _expressions_beside(path: Path, coco: CocoFile, faults: list[str]) -> _Expressions:
    """The expressions in a separate file; those of several lines on one annotation are joined."""
    expressions: _Expressions = {}
    for where, content in json_lines(path, faults):
        try:
            annotation_id = look_up(coco.annotations, content, "ann_id")["id"]
            split = content.get("split")
            earlier, earlier_split = expressions.get(annotation_id, ((), None))
            if None not in (split, earlier_split) and split != earlier_split:
                raise refusal("split", split, f"{shown(earlier_split)} as in an earlier line")
            texts = expression_list("expressions", content.get("expressions"))
            expressions[annotation_id] = (
                earlier + texts,
                earlier_split if split is None else split,
            )
        except EntryError as error:
            faults.append(f"{where}: key {error}")
    return expressions


def _entry(
    where: str, coco: CocoFile, annotation_id: Id, texts: Sequence[str], split: str | None
) -> Entry:
    annotation = coco.annotations[annotation_id]
    image = look_up(coco.images, annotation, "image_id")
    given = (split, annotation.get("split"), image.get("split"))
    split = next((value for value in given if value is not None), None)
    mask = annotation.get("segmentation") or None
    if type(annotation_id) is not int or annotation_id < 0:
        raise refusal("id", annotation_id, "a whole number, because it numbers the mask")
    return Entry(
        where=where,
        image=file_name("file_name", image.get("file_name")),
        expressions=tuple(texts),
        mask_id=annotation_id,
        split=None if split is None else check_name("split", split),
        box_xyxy_px=_box_xyxy_px(annotation),
        mask_key=None if mask is None else "segmentation",
        mask=mask,
        category=whole_number("category_id", annotation.get("category_id", 0)),
        image_size=None if None in (image.get("width"), image.get("height")) else image_size(image),
    )


def _box_xyxy_px(annotation: Row) -> tuple[float, float, float, float] | None:
    if annotation.get("bbox") is None:
        return None
    x, y, width, height = box_xywh_px(annotation)
    if not (width > 0 and height > 0):
        form = "[x, y, width, height] in pixels with a positive area"
        raise refusal("bbox", annotation["bbox"], form)
    return x, y, x + width, y + height
