"""Preparation of raw RefCOCO, RefCOCO+, RefCOCOg and ReferIt: annotation lines and masks.

`prepare_set` takes a raw data set that a module of `data.preparation.raw` reads and writes

    <output_dir>/anns/<dataset>/<split>.txt     one annotation file per split that has referents
    <output_dir>/anns/<dataset>/ids.jsonl       the ids of the data set, see `sidecars`
    <output_dir>/masks/<dataset>/masks.jsonl    one mask per referent, if requested

and `manifest.json` in each folder. Photographs that a set comes with are written to
<output_dir>/images/<dataset>/ in the same way.
"""

import collections
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from config.errors import shown
from config.files import check_free_space, write_bytes, write_text
from data.loading.annotations import Referent, clean_expression, write_annotations
from data.loading.boxes import clip_box, has_area
from data.loading.errors import DataError
from data.loading.images import check_size, opened_image
from data.loading.masks import write_masks
from data.preparation.manifest import (
    Manifest,
    check_replaceable,
    is_as_written,
    replaced_files_of_others,
    write_manifests,
)
from data.preparation.raw.categories import category_of, names_by_number
from data.preparation.raw.raw_set import SPLITS, RawReferent, RawSet
from data.preparation.segmentation import (
    SegmentationError,
    decode_segmentation,
    estimated_bytes,
)
from data.preparation.sidecars.ids import ReferentIds, write_ids
from data.preparation.sidecars.no_target import NoTarget, write_no_target
from data.support.progress import Progress
from data.support.staging import replaced_together

# The published preparation of ReferIt skips these images, so its sets do not contain them.
SKIPPED_REFCLEF_IMAGES = ("19579.jpg", "17975.jpg", "19575.jpg")
BYTES_PER_LINE, BYTES_PER_ID = 60, 50  # For estimates: numbers and punctuation.
KEPT = (
    "files not as an earlier preparation recorded them, kept with a number appended to their name"
)


class SkippedError(Exception):
    """A referent cannot be prepared; the message gives the reason."""


@dataclass
class Summary:
    """The result of a preparation.

    Attributes:
        referents: split → prepared referents, in the order of the raw file.
        skipped: reason → names of the referents that were skipped for it.
        changed: kind of repair or oddity → names of the referents or files it concerns.
        ids: the ids of all prepared referents, in the order of the raw file.
        without_target: expressions that refer to no object of their image.
    """

    referents: dict[str, list[Referent]]
    skipped: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    changed: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    ids: list[ReferentIds] = field(default_factory=list)
    without_target: list[NoTarget] = field(default_factory=list)


def prepare_set(
    raw: RawSet, output_dir: str | os.PathLike, generate_mask: bool = False, overwrite: bool = False
) -> Summary:
    """Writes the annotation files of all splits and, if requested, the masks, or nothing at all.

    A set that was prepared from the same files is replaced.

    Args:
        raw: the raw data set.
        output_dir: folder for anns/<dataset> and masks/<dataset>.
        generate_mask: whether to write masks, 0 and 1 at the size of the image.
        overwrite: whether to replace whatever set is there. Files that preparation did not write,
            and those that were changed since, are kept in any case, if necessary with a number
            appended to their name.

    Raises:
        UserError: another set is there and must not be replaced; a category is not one of COCO's;
            or the disk is too full.
    """
    annotations, masks = prepared_folders(output_dir, raw.dataset)
    folders = [annotations, masks]
    if raw.photographs is not None:
        folders.append(photograph_folder(output_dir, raw.dataset))
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise DataError(
                f"{folder} is a file, but must be a folder: choose another --output_dir"
            )
    splits = SPLITS[raw.dataset, raw.split_by]
    manifest = Manifest(
        raw.dataset, raw.division, raw.files, generate_mask, categories=names_by_number(raw)
    )
    summary = Summary({split: [] for split in splits})
    with replaced_together(*folders, is_ours=is_as_written) as new:
        new_annotations, new_masks, *new_photographs = new
        check_replaceable(annotations, masks, manifest, splits, overwrite)
        check_free_space(
            output_dir,
            needed_bytes(raw, generate_mask),
            f"{raw.dataset} ({raw.division})",
            "free some space or choose another --output_dir",
        )
        masks_of_referents = _converted(raw, generate_mask, summary)
        if generate_mask:
            write_masks(new_masks, masks_of_referents)
        else:
            collections.deque(masks_of_referents, maxlen=0)
        for split, referents in summary.referents.items():
            if referents:
                write_annotations(new_annotations / f"{split}.txt", referents)
        if raw.without_target:
            _add_without_target(raw.without_target, summary)
            write_no_target(new_annotations, summary.without_target)
        write_ids(new_annotations, summary.ids)
        for folder in new_photographs:
            _write_photographs(raw, folder)
        written = (new_annotations, *([new_masks] if generate_mask else []), *new_photographs)
        write_manifests(manifest, summary.referents, written)
        kept = replaced_files_of_others(folders, new)
        if kept:
            summary.changed[KEPT] = [str(path) for path in kept]
    return summary


def prepared_folders(output_dir: str | os.PathLike, dataset: str) -> tuple[Path, Path]:
    """Returns the folders of the annotation files and of the masks of a data set."""
    return Path(output_dir) / "anns" / dataset, Path(output_dir) / "masks" / dataset


def photograph_folder(output_dir: str | os.PathLike, dataset: str) -> Path:
    """Returns the folder of the photographs of a data set that comes with them."""
    return Path(output_dir) / "images" / dataset


def needed_bytes(raw: RawSet, generate_mask: bool) -> int:
    """Estimates the size of a prepared set, rather too large than too small."""
    needed = raw.photograph_bytes
    for referent in (*raw.referents, *raw.without_target):
        texts = (referent.image, *referent.expressions)
        line = BYTES_PER_LINE + sum(len(text.encode("utf-8", "replace")) + 3 for text in texts)
        needed += line * len(referent.splits)
        needed += BYTES_PER_LINE + sum(
            len(text.encode("utf-8", "replace")) + BYTES_PER_ID for text in referent.expressions
        )
        if generate_mask:
            columns = int(min(max(referent.box_xywh_px[2], 1), referent.width))
            needed += estimated_bytes(referent.segmentation, columns)
    return needed


def _converted(
    raw: RawSet, generate_mask: bool, summary: Summary
) -> Iterator[tuple[int, np.ndarray]]:
    """Adds all referents to a summary and yields their masks, with their ids, if requested."""
    n_referents = len(raw.referents)
    with Progress(n_referents, f"{raw.dataset} ({raw.division})", unit="referents") as bar:
        for done, raw_referent in enumerate(raw.referents, start=1):
            bar.update(done)
            try:
                referent = to_referent(raw_referent, raw.dataset, summary)
                mask = _decoded_mask(raw_referent, summary) if generate_mask else None
            except SkippedError as reason:
                summary.skipped[str(reason)].append(_name(raw_referent))
                continue
            summary.ids.append(ids_of(raw_referent))
            for split in raw_referent.splits:
                summary.referents[split].append(referent)
            if mask is not None:
                yield referent.mask_id, mask


def _write_photographs(raw: RawSet, folder: Path) -> None:
    """Writes the photographs that a data set comes with, and checks that each can be decoded.

    Raises:
        DataError: one is damaged or of another size than its masks, or is missing.
    """
    assert raw.photographs is not None
    sizes = {referent.image: (referent.width, referent.height) for referent in raw.referents}
    folder.mkdir()
    written = set()
    with Progress(len(sizes), "photographs", unit="images") as bar:
        for name, content in raw.photographs():
            path = folder / name
            write_bytes(path, content)
            source = f"photograph {name} of {', '.join(raw.files)}"
            with opened_image(path, source) as image:
                check_size(image, source)
                image.load()
                if image.size != sizes.get(name, image.size):
                    width, height = sizes[name]
                    raise DataError(
                        f"{source} has {image.width}×{image.height} pixels, but its masks have "
                        f"{width}×{height}; download the files again"
                    )
            written.add(name)
            bar.update(len(written))
    if missing := sizes.keys() - written:
        raise DataError(f"{', '.join(raw.files)}: no photograph {min(missing)}; download it again")


def _add_without_target(entries: Iterable[RawReferent], summary: Summary) -> None:
    """Adds expressions that refer to no object of their image to a summary."""
    for raw in entries:
        expressions = _clean_expressions(raw, summary)
        if not expressions:
            summary.skipped["it has no expression"].append(_name(raw))
            continue
        summary.ids.append(ids_of(raw))
        summary.without_target.append(NoTarget(raw.ref_id, raw.splits, raw.image, expressions))


def to_referent(raw: RawReferent, dataset: str, summary: Summary) -> Referent:
    """Converts a raw referent to a line of an annotation file.

    Args:
        raw: the raw referent.
        dataset: the data set it belongs to.
        summary: receives the repairs, in `changed`.

    Raises:
        SkippedError: the image is skipped, the referent has a fault, the box is empty, or there is
            no expression.
        DataError: the category is not one of COCO's.
    """
    if dataset == "refclef" and Path(raw.image).name in SKIPPED_REFCLEF_IMAGES:
        raise SkippedError("its image is not part of the published ReferIt sets")
    if raw.fault:
        raise SkippedError(raw.fault)
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


def ids_of(raw: RawReferent) -> ReferentIds:
    """The ids of a referent in its data set, with its expressions as lines store them."""
    pairs = zip(raw.sent_ids, map(clean_expression, raw.expressions), strict=False)
    sentences = tuple((number, text) for number, text in pairs if number is not None and text)
    return ReferentIds(raw.ref_id, raw.ann_ids, sentences)


def to_xyxy(box_xywh_px: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Converts (left, top, width, height) to (left, top, right, bottom).

    As in the published preparation, each of the four numbers is truncated to whole pixels before
    the sums are computed.
    """
    x, y, width, height = (int(value) for value in box_xywh_px)
    return x, y, x + width, y + height


def evaluation_images(raw_referents: Iterable[RawReferent]) -> list[str]:
    """Returns the sorted names of the images of all splits except "train"."""
    return sorted({raw.image for raw in raw_referents if set(raw.splits) - {"train"}})


def add_to_image_list(path: str | os.PathLike, names: Iterable[str]) -> int:
    """Merges image names into a text file with one name per line, sorted.

    Merging collects the images of several data sets in one list.

    Returns:
        The number of names in the merged list.

    Raises:
        DataError: the file exists and is something else.
    """
    path = Path(path)
    known = read_image_list(path) if path.exists() else []
    for name in known:
        if len(name.split()) > 1:
            raise DataError(
                f"{path}: contains {shown(name)}, which is not the name of an image of COCO; name "
                "another file"
            )
    merged = sorted({*names, *known})
    write_text(path, "".join(name + "\n" for name in merged))
    return len(merged)


def read_image_list(path: str | os.PathLike) -> list[str]:
    """Reads a text file with one image name per line.

    Raises:
        OSError: it cannot be read.
        DataError: it is not text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; name a text file with a name per line") from None
    return [line.strip() for line in lines if line.strip()]


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


def _decoded_mask(raw: RawReferent, summary: Summary) -> np.ndarray:
    try:
        mask = decode_segmentation(raw.segmentation, raw.width, raw.height)
    except SegmentationError as error:
        annotations = ", ".join(map(str, raw.ann_ids))
        of_annotation = f"annotation {annotations}: " if annotations else ""
        raise SkippedError(f"{of_annotation}{error}") from None
    if not mask.any():
        summary.changed["empty masks (kept)"].append(_name(raw))
    return mask
