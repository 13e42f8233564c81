"""Raw RefCOCO, RefCOCO+, RefCOCOg or ReferIt → annotation lines and masks.

Reads <data_root>/<dataset>/{instances.json, refs(<split>).p} and writes
<output_dir>/anns/<dataset>/{train,val,…}.txt and, with --generate_mask,
<output_dir>/masks/<dataset>/<ref_id>.npy. data/README.md says where the raw files come from.
"""

import argparse
import collections
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import counted, exit_code
from config.files import written_atomically
from data.loading.annotations import Referent, clean_expression, write_annotations
from data.loading.boxes import clip_box, has_area
from data.preparation.refer import DATASETS, SPLITS, RawReferent, check_split, load_refs
from data.preparation.segmentation import decode_segmentation
from data.support.progress import Progress

# Left out by the published preparation of ReferIt, and so not part of its sets.
SKIPPED_REFCLEF_IMAGES = ("19579.jpg", "17975.jpg", "19575.jpg")
COCO_DATASETS = ("refcoco", "refcoco+", "refcocog")
# The ids 1–90 without the ten that COCO never used, in order: the place is the category 0–79.
_UNUSED_COCO_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_COCO_CATEGORY = {
    coco_id: category
    for category, coco_id in enumerate(i for i in range(1, 91) if i not in _UNUSED_COCO_IDS)
}


class SkippedError(Exception):
    """A referent that cannot be prepared; the text says why."""


@dataclass
class Summary:
    """What a preparation did.

    Attributes:
        referents: split → prepared referents, in the order of the raw file.
        skipped: reason → names of what was left out.
        changed: sort of change → names of what was changed or is odd.
    """

    referents: dict[str, list[Referent]]
    skipped: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    changed: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))


def prepare(
    data_root: str | os.PathLike,
    output_dir: str | os.PathLike,
    dataset: str,
    split_by: str,
    generate_mask: bool = False,
) -> tuple[Summary, list[RawReferent]]:
    """Write the lines of all splits and, if wanted, the masks; see the head of this file.

    The masks come first: an interrupted run leaves no lines without masks.

    Returns:
        what was done, and all raw referents.

    Raises:
        FileNotFoundError, ValueError: see `data.preparation.refer.load_refs`.
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
                name = f"referent {raw.ref_id} on {raw.image}"
                summary.skipped[str(reason)].append(name)
            else:
                summary.referents[raw.split].append(referent)
            bar.update(done)
    for split, referents in summary.referents.items():
        if referents:
            write_annotations(_annotation_path(output_dir, dataset, split), referents)
    return summary, raw_referents


def to_referent(raw: RawReferent, dataset: str, summary: Summary) -> Referent:
    """The line of one raw referent; repairs it needs are noted in the summary.

    Raises:
        SkippedError: an image that is left out, an empty box, no expression.
        ValueError: a category that COCO does not have.
    """
    if dataset == "refclef" and Path(raw.image).name in SKIPPED_REFCLEF_IMAGES:
        raise SkippedError("its image is not part of the published ReferIt sets")
    name = f"referent {raw.ref_id} on {raw.image}"
    box = to_xyxy(raw.box_xywh_px)
    clipped = clip_box(box, raw.width, raw.height)
    if not has_area(clipped):
        raise SkippedError("its box has no area inside the image")
    if clipped != box:
        summary.changed["boxes clipped to the image"].append(name)
    expressions = []
    for expression in raw.expressions:
        cleaned = clean_expression(expression)
        if cleaned != expression.strip():
            summary.changed['expressions with a lone "~" or a line end, taken out'].append(name)
        if cleaned:
            expressions.append(cleaned)
        else:
            summary.changed["empty expressions left out"].append(name)
    if not expressions:
        raise SkippedError("it has no expression")
    return Referent(
        image=raw.image,
        box_xyxy_px=clipped,
        category=category_of(raw, dataset),
        mask_id=raw.ref_id,
        expressions=tuple(expressions),
    )


def to_xyxy(box_xywh_px: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Left, top, width, height → left, top, right, bottom, each cut to whole pixels by itself."""
    x, y, width, height = (int(value) for value in box_xywh_px)
    return x, y, x + width, y + height


def category_of(raw: RawReferent, dataset: str) -> int:
    """COCO's 1–90 become 0–79; ReferIt has categories of its own, which stay as they are."""
    if dataset not in COCO_DATASETS:
        return raw.category_id
    if raw.category_id not in _COCO_CATEGORY:
        raise ValueError(
            f"referent {raw.ref_id}: category {raw.category_id} is none of COCO's 80 (1–90 without "
            f"{', '.join(map(str, _UNUSED_COCO_IDS))})"
        )
    return _COCO_CATEGORY[raw.category_id]


def evaluation_images(raw_referents: Iterable[RawReferent]) -> list[str]:
    """Names of all images of every split but "train", sorted."""
    return sorted({raw.image for raw in raw_referents if raw.split != "train"})


def add_to_image_list(path: str | os.PathLike, names: Iterable[str]) -> int:
    """Merge names into a list of one name a line, sorted; returns how many it holds then.

    Merging lets one list collect the images of several data sets.
    """
    path = Path(path)
    known = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    merged = sorted({*names, *(name.strip() for name in known if name.strip())})
    with written_atomically(path) as file:
        file.write("".join(name + "\n" for name in merged).encode())
    return len(merged)


def _write_mask(folder: Path, raw: RawReferent, summary: Summary) -> None:
    try:
        mask = decode_segmentation(raw.segmentation, raw.width, raw.height)
    except ValueError as error:
        raise SkippedError(f"annotation {raw.ann_id}: {error}") from None
    if not mask.any():
        summary.changed["masks without a pixel (kept)"].append(
            f"referent {raw.ref_id} on {raw.image}"
        )
    with written_atomically(folder / f"{raw.ref_id}.npy") as file:
        np.save(file, np.ascontiguousarray(mask))


def _annotation_path(output_dir: str | os.PathLike, dataset: str, split: str) -> Path:
    return Path(output_dir) / "anns" / dataset / f"{split}.txt"


def _report(summary: Summary, output_dir: str, dataset: str, generate_mask: bool) -> None:
    written = set()
    for split, referents in summary.referents.items():
        path = _annotation_path(output_dir, dataset, split)
        if not referents:
            print(f"{split:6} no referents, {path} not written")
            continue
        written.add(path)
        images = len({referent.image for referent in referents})
        expressions = sum(len(referent.expressions) for referent in referents)
        print(
            f"{split:6} {len(referents)} referents, {expressions} expressions, {images} images "
            f"→ {path}"
        )
    if generate_mask:
        print(f"masks → {Path(output_dir) / 'masks' / dataset}")
    for verb, noted in (("skipped, because ", summary.skipped), ("", summary.changed)):
        for what, names in noted.items():
            print(f"{verb}{what}: {counted(names)}")
    for path in sorted((Path(output_dir) / "anns" / dataset).glob("*.txt")):
        if path not in written:
            print(
                f"warning: {path} is left from an earlier preparation; its images may be in the "
                "training set now: move it away or delete it"
            )


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Raw RefCOCO-family data sets → annotation lines and masks.",
        epilog="Example: python data/data_process.py --data_root data/raw --output_dir data "
        "--dataset refcoco --split unc --generate_mask",
    )
    parser.add_argument(
        "--data_root", required=True, help="folder that holds refcoco/, refcoco+/, … as unpacked"
    )
    parser.add_argument(
        "--output_dir", default="./data", help="anns/ and masks/ are made here (default: ./data)"
    )
    parser.add_argument("--dataset", default="refcoco", choices=DATASETS)
    parser.add_argument(
        "--split",
        default="unc",
        help="refcoco: unc, google; refcoco+: unc; refcocog: umd, google; refclef: unc, berkeley "
        "(default: unc)",
    )
    parser.add_argument(
        "--generate_mask", action="store_true", help="write the masks too (needed for training)"
    )
    parser.add_argument(
        "--list_eval_images",
        metavar="FILE",
        help="add the images of all val and test splits to FILE, one name a line: what the "
        "pretraining of a backbone must leave out (COCO data sets)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parse_arguments(arguments)
    return exit_code(lambda: _run(options), "Run the same command again: it starts anew.")


def _run(options: argparse.Namespace) -> int:
    check_split(options.dataset, options.split)
    if options.list_eval_images and options.dataset not in COCO_DATASETS:
        raise ValueError(
            f"--list_eval_images: the images of {options.dataset} are not COCO's, so a "
            "backbone pretrained on COCO has not seen them"
        )
    summary, raw_referents = prepare(
        options.data_root,
        options.output_dir,
        options.dataset,
        options.split,
        options.generate_mask,
    )
    _report(summary, options.output_dir, options.dataset, options.generate_mask)
    if options.list_eval_images:
        names = evaluation_images(raw_referents)
        total = add_to_image_list(options.list_eval_images, names)
        print(f"{len(names)} evaluation images → {options.list_eval_images} ({total} images now)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
