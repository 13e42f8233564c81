"""Preparation of raw RefCOCO, RefCOCO+, RefCOCOg and ReferIt: annotation lines and masks.

`prepare_set` reads a raw data set with `data.preparation.refer` and writes

    <output_dir>/anns/<dataset>/<split>.txt     one annotation file per split that has referents
    <output_dir>/masks/<dataset>/<ref_id>.npy   one mask per referent, if requested
"""

import collections
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from config.files import write_text, written_atomically
from data.loading.annotations import Referent, clean_expression, write_annotations
from data.loading.boxes import clip_box, has_area
from data.loading.errors import DataError
from data.preparation.refer import SPLITS, RawReferent, load_refs
from data.preparation.segmentation import SegmentationError, decode_segmentation
from data.support.progress import Progress

# The published preparation of ReferIt skips these images, so its sets do not contain them.
SKIPPED_REFCLEF_IMAGES = ("19579.jpg", "17975.jpg", "19575.jpg")
COCO_DATASETS = ("refcoco", "refcoco+", "refcocog")
# COCO's category ids are 1–90 without these ten; the others, in order, are categories 0–79.
_UNUSED_COCO_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_COCO_CATEGORY = {
    coco_id: category
    for category, coco_id in enumerate(i for i in range(1, 91) if i not in _UNUSED_COCO_IDS)
}


class SkippedError(Exception):
    """A referent cannot be prepared; the message gives the reason."""


@dataclass
class Summary:
    """The result of a preparation.

    Attributes:
        referents: split → prepared referents, in the order of the raw file.
        skipped: reason → names of the referents that were skipped for it.
        changed: kind of repair or oddity → names of the referents it concerns.
    """

    referents: dict[str, list[Referent]]
    skipped: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    changed: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))


def prepare_set(
    data_root: str | os.PathLike,
    output_dir: str | os.PathLike,
    dataset: str,
    split_by: str,
    generate_mask: bool = False,
) -> tuple[Summary, list[RawReferent]]:
    """Writes the annotation files of all splits and, if requested, the masks.

    The masks are written first, so an interrupted run leaves no annotations without masks.

    Args:
        data_root: folder that contains the folder of the raw data set.
        output_dir: folder for anns/<dataset> and masks/<dataset>.
        dataset, split_by: a key of `data.preparation.refer.SPLITS`.
        generate_mask: whether to write masks, (height, width) uint8 of 0 and 1 at the size of the
            image.

    Returns:
        The summary, and all raw referents.

    Raises:
        FileNotFoundError, UserError: see `data.preparation.refer.load_refs`; or a category is not
            one of COCO's.
    """
    raw_referents = load_refs(data_root, dataset, split_by)
    summary = Summary({split: [] for split in SPLITS[dataset, split_by]})
    mask_folder = Path(output_dir) / "masks" / dataset if generate_mask else None
    with Progress(len(raw_referents), f"{dataset} ({split_by})", unit="referents") as bar:
        for done, raw in enumerate(raw_referents, start=1):
            try:
                referent = to_referent(raw, dataset, summary)
                if mask_folder is not None:
                    _write_mask(mask_folder, raw, summary)
            except SkippedError as reason:
                summary.skipped[str(reason)].append(_name(raw))
            else:
                summary.referents[raw.split].append(referent)
            bar.update(done)
    for split, referents in summary.referents.items():
        if referents:
            write_annotations(annotation_path(output_dir, dataset, split), referents)
    return summary, raw_referents


def to_referent(raw: RawReferent, dataset: str, summary: Summary) -> Referent:
    """Converts a raw referent to a line of an annotation file.

    Args:
        raw: the raw referent.
        dataset: the data set it belongs to.
        summary: receives the repairs, in `changed`.

    Raises:
        SkippedError: the image is skipped, the box is empty, or there is no expression.
        DataError: the category is not one of COCO's.
    """
    if dataset == "refclef" and Path(raw.image).name in SKIPPED_REFCLEF_IMAGES:
        raise SkippedError("its image is not part of the published ReferIt sets")
    box = to_xyxy(raw.box_xywh_px)
    clipped = clip_box(box, raw.width, raw.height)
    if not has_area(clipped):
        raise SkippedError("its box has no area inside the image")
    if clipped != box:
        summary.changed["boxes clipped to the image"].append(_name(raw))
    expressions = _clean_expressions(raw, summary)
    if not expressions:
        raise SkippedError("it has no expression")
    return Referent(
        image=raw.image,
        box_xyxy_px=clipped,
        category=category_of(raw, dataset),
        mask_id=raw.ref_id,
        expressions=expressions,
    )


def to_xyxy(box_xywh_px: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Converts (left, top, width, height) to (left, top, right, bottom).

    As in the published preparation, each of the four numbers is truncated to whole pixels before
    the sums are computed.
    """
    x, y, width, height = (int(value) for value in box_xywh_px)
    return x, y, x + width, y + height


def category_of(raw: RawReferent, dataset: str) -> int:
    """Maps COCO's ids 1–90 to categories 0–79; the categories of ReferIt stay unchanged.

    Raises:
        DataError: the id is not one of COCO's 80.
    """
    if dataset not in COCO_DATASETS:
        return raw.category_id
    if raw.category_id not in _COCO_CATEGORY:
        raise DataError(
            f"referent {raw.ref_id} of {dataset}: 'category_id' is {raw.category_id}, but must be "
            f"one of COCO's 80 (1–90 without {', '.join(map(str, _UNUSED_COCO_IDS))})"
        )
    return _COCO_CATEGORY[raw.category_id]


def evaluation_images(raw_referents: Iterable[RawReferent]) -> list[str]:
    """Returns the sorted names of the images of all splits except "train"."""
    return sorted({raw.image for raw in raw_referents if raw.split != "train"})


def add_to_image_list(path: str | os.PathLike, names: Iterable[str]) -> int:
    """Merges image names into a text file with one name per line, sorted.

    Merging collects the images of several data sets in one list.

    Returns:
        The number of names in the merged list.
    """
    path = Path(path)
    known = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    merged = sorted({*names, *(name.strip() for name in known if name.strip())})
    write_text(path, "".join(name + "\n" for name in merged))
    return len(merged)


def annotation_path(output_dir: str | os.PathLike, dataset: str, split: str) -> Path:
    """Returns the path of the annotation file of a split."""
    return Path(output_dir) / "anns" / dataset / f"{split}.txt"


def _name(raw: RawReferent) -> str:
    return f"referent {raw.ref_id} on {raw.image}"


def _clean_expressions(raw: RawReferent, summary: Summary) -> tuple[str, ...]:
    """Removes what annotation lines cannot store; expressions that become empty are dropped."""
    expressions = []
    for expression in raw.expressions:
        cleaned = clean_expression(expression)
        if cleaned != expression.strip():
            summary.changed['lone "~" or line break removed from expressions'].append(_name(raw))
        if cleaned:
            expressions.append(cleaned)
        else:
            summary.changed["empty expressions dropped"].append(_name(raw))
    return tuple(expressions)


def _write_mask(folder: Path, raw: RawReferent, summary: Summary) -> None:
    try:
        mask = decode_segmentation(raw.segmentation, raw.width, raw.height)
    except SegmentationError as error:
        raise SkippedError(f"annotation {raw.ann_id}: {error}") from None
    if not mask.any():
        summary.changed["empty masks (kept)"].append(_name(raw))
    with written_atomically(folder / f"{raw.ref_id}.npy") as file:
        np.save(file, np.ascontiguousarray(mask))
