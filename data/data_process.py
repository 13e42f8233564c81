"""Convert raw RefCOCO, RefCOCO+, RefCOCOg, ReferIt and further sets to annotation lines and masks.

    python data/data_process.py --data_root data/raw --dataset refcoco --split unc --generate_mask

Reads DATA_ROOT/DATASET/instances.json and DATA_ROOT/DATASET/refs(SPLIT).p, or the Parquet or JSON
files of further sets that data/README.md describes, and writes

    OUTPUT_DIR/anns/DATASET/{train,val,...}.txt   one annotation file per split
    OUTPUT_DIR/masks/DATASET/masks.jsonl          one mask per referent, with --generate_mask

with ids.jsonl beside the lines and manifest.json in each folder, or nothing at all. A set that was
prepared from the same files is replaced, any other one only with --overwrite. Files that you added
or changed are never deleted. data/README.md says where to get the raw files.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import counted, exit_code
from config.errors import UserError
from config.files import bytes_text
from config.schema import PROJECT_ROOT
from data.preparation.raw.categories import COCO_DATASETS
from data.preparation.raw.published import PUBLISHED, REVIEWED, Counts
from data.preparation.raw.raw_set import DATASETS, RawSet, check_split, division_list
from data.preparation.raw.reading import read_raw_set
from data.preparation.raw.reviewed import FOLDER as REVIEWS
from data.preparation.raw.reviewed import only_reviewed
from data.preparation.referring_sets import (
    Summary,
    add_to_image_list,
    evaluation_images,
    needed_bytes,
    photograph_folder,
    prepare_set,
    prepared_folders,
)
from data.preparation.sidecars.no_target import FILE_NAME as NO_TARGET_FILE
from data.preparation.wording import plural

DATA_FOLDER = PROJECT_ROOT / "data"


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data_root",
        required=True,
        metavar="DIR",
        help="folder that contains the extracted raw data sets: refcoco/, refcoco+/, ...",
    )
    parser.add_argument(
        "--output_dir",
        default=DATA_FOLDER,
        metavar="DIR",
        help="folder in which anns/ and masks/ are created (default: the project's data/)",
    )
    parser.add_argument(
        "--dataset", default="refcoco", choices=DATASETS, help="data set (default: refcoco)"
    )
    parser.add_argument(
        "--split", default="unc", help=f"division into splits (default: unc); {division_list()}"
    )
    parser.add_argument(
        "--generate_mask", action="store_true", help="also write the masks, which training needs"
    )
    parser.add_argument(
        "--only_reviewed",
        nargs="?",
        const="",
        metavar="DIR",
        help="leave out the expressions of the evaluation splits that Ref-L4 judged wrong, "
        f"according to its reviews in DIR (default: DATA_ROOT/{REVIEWS}); RefCOCO, RefCOCO+ and "
        "RefCOCOg only",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace lines and masks of the data set in OUTPUT_DIR, whatever they were made from; "
        "those that this command did not write are kept with a number appended to their name",
    )
    parser.add_argument(
        "--list_eval_images",
        metavar="FILE",
        help="prepare nothing, but add the names of all images of the evaluation splits to FILE, "
        "one per line; pretraining a backbone on COCO must exclude them (COCO data sets only)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int | None:
    """Runs the command line and returns its exit code."""
    options = _parse_arguments(arguments)
    return exit_code(lambda: _run(options), "Run the same command again to start over.")


def _run(options: argparse.Namespace) -> int:
    check_split(options.dataset, options.split)
    if options.list_eval_images:
        return _list_evaluation_images(options)
    raw = read_raw_set(options.data_root, options.dataset, options.split)
    if options.only_reviewed is not None:
        raw = _only_reviewed(raw, options)
    size = bytes_text(needed_bytes(raw, options.generate_mask))
    print(f"{options.dataset} ({options.split}) needs about {size} in {options.output_dir}")
    summary = prepare_set(raw, options.output_dir, options.generate_mask, options.overwrite)
    _print_summary(summary, options)
    if raw.photographs is not None:
        print(f"photographs → {photograph_folder(options.output_dir, options.dataset)}")
    _print_notes(summary, options)
    return 0


def _only_reviewed(raw: RawSet, options: argparse.Namespace) -> RawSet:
    """The data set without the expressions that were judged wrong."""
    folder = Path(options.only_reviewed or Path(options.data_root) / REVIEWS)
    raw, review = only_reviewed(raw, folder)
    judged, wrong = published = REVIEWED[raw.dataset]
    compared = (
        "as published"
        if (review.judged, review.wrong) == published
        else (f"published: {wrong:,} of {judged:,}")
    )
    print(
        f"review: {review.wrong:,} of {plural(review.judged, 'expression')} judged wrong "
        f"({compared})"
    )
    if review.without:
        print(f"expressions without a review, which are kept: {counted(review.without)}")
    return raw


def _list_evaluation_images(options: argparse.Namespace) -> int:
    if options.dataset not in COCO_DATASETS:
        raise UserError(
            f"--list_eval_images: the images of {options.dataset} are not from COCO, so a backbone "
            "pretrained on COCO has not seen them; omit the option"
        )
    if options.generate_mask or options.overwrite or options.only_reviewed is not None:
        raise UserError(
            "--list_eval_images only lists images: run the command once with it and once with "
            "--generate_mask, --overwrite or --only_reviewed"
        )
    raw = read_raw_set(options.data_root, options.dataset, options.split)
    names = evaluation_images((*raw.referents, *raw.without_target))
    total = add_to_image_list(options.list_eval_images, names)
    print(
        f"{plural(len(names), 'evaluation image')} → {options.list_eval_images} "
        f"({plural(total, 'image')} in total)"
    )
    return 0


def _print_summary(summary: Summary, options: argparse.Namespace) -> None:
    annotations, masks = prepared_folders(options.output_dir, options.dataset)
    complete = options.only_reviewed is None
    published = PUBLISHED.get((options.dataset, options.split), {}) if complete else {}
    for split, referents in summary.referents.items():
        path = annotations / f"{split}.txt"
        if not referents:
            print(f"{split:6} no referents, {path} not written")
            continue
        counts = Counts(
            len(referents),
            sum(len(referent.expressions) for referent in referents),
            len({referent.image for referent in referents}),
        )
        numbers = (plural(n, name.removesuffix("s")) for name, n in counts._asdict().items())
        print(f"{split:6} {', '.join(numbers)}{counts.compared(published.get(split))} → {path}")
        count = sum(
            len(entry.expressions) for entry in summary.without_target if split in entry.splits
        )
        if count:
            print(f"{'':6} {plural(count, 'expression')} without a target → {NO_TARGET_FILE}")
    if options.generate_mask:
        print(f"masks → {masks}")


def _print_notes(summary: Summary, options: argparse.Namespace) -> None:
    for prefix, notes in (("skipped because ", summary.skipped), ("", summary.changed)):
        for what, names in notes.items():
            print(f"{prefix}{what}: {counted(names)}")
    annotations, _ = prepared_folders(options.output_dir, options.dataset)
    for path in sorted(annotations.glob("*.txt")):
        if path.stem not in summary.referents:
            print(
                f"warning: {path} is not of this preparation, and its images may now be in the "
                "training set; move or delete it"
            )


if __name__ == "__main__":
    sys.exit(main())
