"""RefCOCO-M: the val split of RefCOCO with new masks, as Parquet with the photographs.

A row is an image with the list of its referents, whose masks are COCO's run lengths.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from config.files import file_sha256
from data.loading.errors import DataError
from data.preparation.coco import COCO_NAMES, box_xywh_px
from data.preparation.json_fields import (
    entry_at,
    file_name,
    refusal,
    whole_number,
)
from data.preparation.raw.parquet import parquet_files, parquet_rows
from data.preparation.raw.raw_set import RawReferent, RawSet

DATASET = "refcoco-m"
_COCO_ID = {name: number for number, name in COCO_NAMES.items()}


def read_refcoco_m(folder: Path, split_by: str) -> RawSet:
    """Reads RefCOCO-M.

    Args:
        folder: contains validation-*.parquet, or data/ with them.
        split_by: name of its only division.

    Raises:
        FileNotFoundError: there is no Parquet file.
        UserError: pyarrow is not installed, a file is damaged or lacks a column, or an image or
            referent cannot be used; the message names the file and row.
    """
    files = parquet_files(folder)
    if not files:
        raise FileNotFoundError(
            f"{folder}: no Parquet file there or in data/; put validation-*.parquet of RefCOCO-M "
            "there (data/README.md says where to get them)"
        )
    referents: dict[int, RawReferent] = {}
    images: dict[str, str] = {}
    for path in files:
        for number, row in parquet_rows(path, ("file_name", "samples")):
            place = f"{path}: row {number}"
            with entry_at(place):
                image, samples = _image(row), row["samples"]
                if not isinstance(samples, list):
                    raise refusal("samples", samples, "a list of objects")
            if images.setdefault(image, place) != place:
                raise DataError(
                    f"{place}: key 'file_name' {image} is also that of {images[image]}; keep one "
                    f"copy of the files in {path.parent}"
                )
            for index, sample in enumerate(samples):
                referent = _referent(sample, image, f"{place}: samples[{index}]")
                if referents.setdefault(referent.ref_id, referent) is not referent:
                    raise DataError(
                        f"{place}: samples[{index}]: key 'id' {referent.ref_id} is also that of "
                        "another referent; download the files again"
                    )
    digests = {path.name: file_sha256(path) for path in files}
    return RawSet(
        DATASET,
        split_by,
        list(referents.values()),
        digests,
        photographs=partial(_photographs, files),
        photograph_bytes=sum(path.stat().st_size for path in files),
        categories=COCO_NAMES,
    )


def _image(row: Mapping[str, Any]) -> str:
    """The name of an image, without its folder."""
    given = file_name("file_name", row["file_name"])
    name = given.rpartition("/")[2]
    if not name or "\\" in name or name.startswith("."):
        raise refusal("file_name", given, "the name of an image file")
    return name


def _referent(sample: Any, image: str, place: str) -> RawReferent:
    with entry_at(place):
        if not isinstance(sample, dict):
            raise refusal("samples", sample, "objects")
        ref_id = whole_number("id", sample.get("id"))
        category = sample.get("category")
        if not isinstance(category, str) or category not in _COCO_ID:
            raise refusal("category", category, "the name of one of COCO's 80 categories")
        mask = sample.get("mask")
        size = mask.get("size") if isinstance(mask, dict) else None
        if not isinstance(size, list) or len(size) != 2:
            raise refusal("mask", mask, 'run lengths {"size": [height, width], "counts": …}')
        height, width = (whole_number("mask", number, minimum=1) for number in size)
        return RawReferent(
            ref_id=ref_id,
            ann_ids=(),  # The ids of samples are those of referents.
            splits=("val",),
            image=image,
            width=width,
            height=height,
            category_id=_COCO_ID[category],
            box_xywh_px=box_xywh_px(sample),
            segmentation=mask,
            expressions=_sentences(sample.get("sentences")),
        )


def _sentences(value: Any) -> tuple[str, ...]:
    """The expressions of a sample; there may be none left after those that were removed."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise refusal("sentences", value, "a list of expressions")
    return tuple(value)


def _photographs(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each photograph.

    Raises:
        UserError: a file is damaged or changed, or a row holds no photograph.
    """
    for path in files:
        for number, row in parquet_rows(path, ("file_name", "image")):
            with entry_at(f"{path}: row {number}"):
                content = row["image"].get("bytes") if isinstance(row["image"], dict) else None
                if not isinstance(content, bytes):
                    raise refusal("image", None, "an object with the 'bytes' of an image file")
                yield _image(row), content
