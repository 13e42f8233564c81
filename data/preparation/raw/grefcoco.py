"""gRefCOCO: expressions that refer to one object, to several or to none.

`grefs(<split>).json` is a list like refs(<split>).p, except that "ann_id" is a list of ids of
instances.json, [-1] if the image has no such object; "no_target" then is true.
"""

import hashlib
from pathlib import Path
from typing import Any

from config.errors import shown
from config.json_text import check_regular
from data.loading.errors import DataError
from data.preparation.coco import (
    CocoFile,
    Row,
    box_xywh_px,
    category_names,
    image_size,
    look_up,
    read_coco,
)
from data.preparation.json_fields import (
    EntryError,
    entry_at,
    file_name,
    parse_json,
    refusal,
    whole_number,
)
from data.preparation.raw.raw_set import (
    SPLITS,
    RawReferent,
    RawSet,
    add_referent,
    check_present,
    place_of,
    sentences_of,
    splits_of,
)

DATASET = "grefcoco"
NO_TARGET = [-1]


def read_grefcoco(folder: Path, split_by: str) -> RawSet:
    """Reads gRefCOCO.

    The box of a referent of several objects is the box around them, and its segmentation has the
    parts of all of them. Crowds do not count, as in the authors' evaluation: a referent of crowds
    alone is skipped.

    Args:
        folder: contains grefs(<split_by>).json and instances.json.
        split_by: name of its division.

    Raises:
        FileNotFoundError: one of the files is missing.
        UserError: a file cannot be read, or a referent lacks an annotation or its image, has an
            impossible value, or has the id of another one; the message names the file and object.
    """
    refs_path, instances_path = check_present(folder, f"grefs({split_by}).json", "gRefCOCO")
    check_regular(refs_path, DataError)
    content = refs_path.read_bytes()
    refs = parse_json(content, refs_path)
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise DataError(f"{refs_path}: must be a list of referents")
    coco = read_coco(instances_path)
    found: dict[int, RawReferent] = {}
    for index, ref in enumerate(refs):
        place = place_of(ref, index, refs_path)
        add_referent(found, _referent(ref, coco, SPLITS[DATASET, split_by], place), refs_path)
    return RawSet(
        DATASET,
        split_by,
        [referent for referent in found.values() if referent.ann_ids],
        {refs_path.name: hashlib.sha256(content).hexdigest(), instances_path.name: coco.sha256},
        without_target=[referent for referent in found.values() if not referent.ann_ids],
        categories=category_names(coco),
    )


def _referent(
    ref: dict[str, Any], coco: CocoFile, splits: tuple[str, ...], place: str
) -> RawReferent:
    with entry_at(place):
        ref_id = whole_number("ref_id", ref.get("ref_id"))
        image = look_up(coco.images, ref, "image_id")
        found = _annotations(ref, coco)
        annotations = [annotation for annotation in found if not annotation.get("iscrowd")]
        of_splits = splits_of(ref.get("split"), splits)
        expressions, sent_ids = sentences_of(ref)
    with entry_at(f"{coco.path}: image {shown(image['id'])}"):
        name = file_name("file_name", image.get("file_name"))
        width, height = image_size(image)
    boxes, parts = [], list[Any]()
    for annotation in annotations:
        with entry_at(f"{coco.path}: annotation {shown(annotation['id'])}"):
            boxes.append(box_xywh_px(annotation))
            category_id = whole_number("category_id", annotations[0].get("category_id"))
        segmentation = annotation.get("segmentation")
        parts += segmentation if isinstance(segmentation, list) else [segmentation]
    return RawReferent(
        ref_id=ref_id,
        ann_ids=tuple(annotation["id"] for annotation in annotations or found),
        splits=of_splits,
        image=name,
        width=width,
        height=height,
        category_id=category_id if annotations else 0,
        box_xywh_px=_around(boxes),
        segmentation=parts,
        expressions=expressions,
        sent_ids=sent_ids,
        fault="its annotations are all crowds" if found and not annotations else "",
    )


def _annotations(ref: dict[str, Any], coco: CocoFile) -> list[Row]:
    """The annotations of a referent, with crowds; none if there is no such object."""
    given = ref.get("ann_id")
    ids = given if isinstance(given, list) else [given]
    flag = ref.get("no_target")
    if flag is not None and bool(flag) != (ids == NO_TARGET):
        raise EntryError(f"'no_target' is {shown(flag)}, but 'ann_id' is {shown(given)}")
    if ids == NO_TARGET:
        return []
    found = [look_up(coco.annotations, {"ann_id": one}, "ann_id") for one in ids]
    for annotation in found:
        if annotation.get("image_id") != ref.get("image_id"):
            raise refusal("ann_id", given, "annotations of the image 'image_id'")
    if not found:
        raise refusal("ann_id", given, "[-1] or ids of annotations")
    return found


def _around(
    boxes: list[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """The box around boxes, all as left, top, width and height; empty for none."""
    if len(boxes) < 2:
        return boxes[0] if boxes else (0.0, 0.0, 0.0, 0.0)
    left, top = (min(box[axis] for box in boxes) for axis in (0, 1))
    right, bottom = (max(box[axis] + box[axis + 2] for box in boxes) for axis in (0, 1))
    return left, top, right - left, bottom - top
