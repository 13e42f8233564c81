"""RefCOCO, RefCOCO+ and RefCOCOg as Parquet without photographs: jxu124/refcoco and its siblings.

A row is a referent with the fields of refs(<split>).p. Its annotation and its image are the texts
of JSON objects, as in instances.json. The column "bbox" is not read: it is left, top, right, bottom
in some versions and left, top, width, height in others.
"""

from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import file_sha256
from data.loading.errors import DataError
from data.preparation.coco import COCO_NAMES, box_xywh_px, image_size
from data.preparation.json_fields import entry_at, file_name, parse_json, refusal, whole_number
from data.preparation.raw.parquet import parquet_files, parquet_rows
from data.preparation.raw.raw_set import (
    COMMON_DIVISIONS,
    SPLITS,
    RawReferent,
    RawSet,
    sentences_of,
    splits_of,
)

COLUMNS = (
    "ref_id", "ann_id", "image_id", "split", "sentences", "category_id", "raw_anns",
    "raw_image_info",
)  # fmt: skip
# Names of splits that differ; testA is called test if there is testB as well.
ALIASES = {"validation": "val", "test": "testA"}


def read_refcoco_parquet(folder: Path, dataset: str, split_by: str) -> RawSet:
    """Reads a raw data set in Parquet.

    Args:
        folder: contains the Parquet files of all splits, or data/ with them.
        dataset, split_by: a key of `SPLITS`.

    Raises:
        UserError: the division is not published in this form, pyarrow is not installed, a file is
            damaged or lacks a column, or a referent cannot be used; the message names the file and
            row.
    """
    if COMMON_DIVISIONS.get(dataset) != split_by:
        given = ", ".join(f"{name} ({division})" for name, division in COMMON_DIVISIONS.items())
        raise UserError(
            f"{folder}: contains Parquet files, which are published only for {given}; put "
            f"instances.json and refs({split_by}).p there"
        )
    splits = SPLITS[dataset, split_by]
    referents: dict[int, RawReferent] = {}
    files = parquet_files(folder)
    for path in files:
        for number, row in parquet_rows(path, COLUMNS):
            referent = _referent(row, splits, f"{path}: row {number}")
            if referents.setdefault(referent.ref_id, referent) is not referent:
                raise DataError(
                    f"{path}: row {number}: key 'ref_id' {referent.ref_id} is also that of an "
                    f"earlier row; keep one copy of the files in {path.parent}"
                )
    digests = {path.name: file_sha256(path) for path in files}
    return RawSet(dataset, split_by, list(referents.values()), digests, categories=COCO_NAMES)


def _referent(row: dict[str, Any], splits: tuple[str, ...], place: str) -> RawReferent:
    annotation = _object(row, "raw_anns", place)
    image = _object(row, "raw_image_info", place)
    with entry_at(place):
        ann_id = _same_id("ann_id", row, annotation, "raw_anns")
        _same_id("image_id", row, image, "raw_image_info")
        split = row["split"]
        if isinstance(split, str) and split not in splits:
            split = ALIASES.get(split, split)
        expressions, sent_ids = sentences_of(row)
        width, height = image_size(image)
        return RawReferent(
            ref_id=whole_number("ref_id", row["ref_id"]),
            ann_ids=(ann_id,),
            splits=splits_of(split, splits),
            image=file_name("file_name", image.get("file_name")),
            width=width,
            height=height,
            category_id=whole_number("category_id", row["category_id"]),
            box_xywh_px=box_xywh_px(annotation),
            segmentation=annotation.get("segmentation"),
            expressions=expressions,
            sent_ids=sent_ids,
        )


def _same_id(key: str, row: dict[str, Any], given: dict[str, Any], column: str) -> int | str:
    """The id in one column, which must be that of the object in another one."""
    value = row[key]
    if type(value) not in (int, str) or given.get("id") != value:
        raise refusal(key, value, f"the 'id' of '{column}'")
    return value


def _object(row: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    """The JSON object that a column holds as text."""
    with entry_at(place):
        if not isinstance(row[key], str):
            raise refusal(key, row[key], "the text of a JSON object")
        value = parse_json(row[key].encode("utf-8", "surrogatepass"), f"{place}: {key}")
        if not isinstance(value, dict):
            raise refusal(key, row[key], "the text of a JSON object")
    return value
