"""Own data → annotation lines and masks, from JSON lines or from a COCO file with expressions.

    python data/import_jsonl.py photos/objects.jsonl --name mine

reads one JSON object a line,

    {"image": "a.jpg", "box": [10, 20, 110, 220], "polygon": [[10, 20, 110, 20, 60, 220]],
     "expressions": ["the red kite", "kite on the left"], "split": "train"}

and writes DIR/anns/mine/<split>.txt, DIR/masks/mine/<number>.npy and DIR/anns/mine/config.json,
with which train.py, test.py and data/check.py run on it. The images stay where they are.

  image         file below --image_path (default: the folder of the JSON lines)
  box           left, top, right, bottom in pixels; without it, the box around the mask
  polygon       list of polygons [x, y, x, y, …] in pixels, or
  rle           COCO run lengths {"size": [height, width], "counts": …}, or
  mask          image file of the image's size, black where the object is not
  expressions   one or more texts
  split         train, val, test, … (default: --split)
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import counted, exit_code
from data.preparation.own_data import import_entries
from data.preparation.own_entries import EntryError, check_name, read_coco, read_json_lines

DATA_FOLDER = Path(__file__).resolve().parent


def _report(summary, output, name, unread, without):
    for split, referents in summary.referents.items():
        images = len({referent.image for referent in referents})
        expressions = sum(len(referent.expressions) for referent in referents)
        print(
            f"{split:6} {len(referents):,} objects, {expressions:,} expressions, {images:,} images "
            f"→ {Path(output) / 'anns' / name / split}.txt"
        )
    sorts = ", ".join(f"{count:,} {sort}" for sort, count in sorted(summary.masks.items()))
    print(f"masks  {sorts} → {Path(output) / 'masks' / name}")
    for note in _notes(summary, unread, without):
        print(f"note: {note}")
    config = Path(output) / "anns" / name / "config.json"
    print(f"look through it: python data/check.py --config {config}")
    print(f"train on it:     python train.py --config {config}")


def _notes(summary, unread, without):
    for note, where in summary.noted.items():
        yield f"{note}: {counted(where)}"
    if summary.masks.get("filled box"):
        yield "masks are filled boxes where none was given: segmentation learns boxes from them"
    for key, count in sorted(unread.items()):
        yield f"the key '{key}' means nothing here and was not read ({count:,} lines)"
    if without:
        yield f"{without:,} annotations without expressions were left out"
    if list(summary.referents) == ["train"]:
        yield (
            "there is no split to evaluate, so config.json evaluates the training set; name "
            "splits, or set images aside with --val_share 0.1"
        )
    splits = list(summary.referents)
    images = {split: {r.image for r in referents} for split, referents in summary.referents.items()}
    for i, first in enumerate(splits):
        for second in splits[i + 1 :]:
            shared = images[first] & images[second]
            if shared:
                yield (
                    f"{len(shared):,} images are in {first} and in {second}: figures of one that "
                    "was trained on come out too good"
                )


def _parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="A COCO file: python data/import_jsonl.py --coco instances.json --name mine "
        '--image_path photos, where annotations hold "expressions" or "captions", or with '
        '--expressions FILE of lines {"ann_id": 17, "expressions": ["the red kite"]}.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="JSON lines")
    parser.add_argument("--coco", type=Path, metavar="FILE", help="a COCO file instead")
    parser.add_argument(
        "--expressions", type=Path, metavar="FILE", help="expressions for --coco, as JSON lines"
    )
    parser.add_argument("--name", required=True, help="what the data set shall be called")
    parser.add_argument(
        "--image_path", type=Path, metavar="DIR", help="images (default: the folder of the input)"
    )
    parser.add_argument(
        "--mask_path", type=Path, metavar="DIR", help="mask images (default: likewise)"
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=DATA_FOLDER,
        metavar="DIR",
        help="anns/ and masks/ are made here (default: the project's data/)",
    )
    parser.add_argument("--split", default="train", help="of objects that name none (train)")
    parser.add_argument(
        "--val_share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the images without a split that becomes the split val, e.g. 0.1",
    )
    parser.add_argument(
        "--masks_from_boxes",
        action="store_true",
        help="fill the box where an object has no mask; segmentation then learns boxes",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a set of this name")
    options = parser.parse_args(arguments)
    if bool(options.files) == bool(options.coco):
        parser.error("name either JSON-lines files or --coco FILE")
    if options.expressions and not options.coco:
        parser.error("--expressions belongs to --coco; JSON lines hold their expressions")
    if not 0 <= options.val_share < 1:
        parser.error(f"--val_share {options.val_share:g}: a share from 0 to below 1 is wanted")
    try:
        check_name("--name", options.name)
        check_name("--split", options.split)
    except EntryError as fault:
        parser.error(str(fault))
    return options


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parse_arguments(arguments)
    hint = "Nothing was imported: run the same command again."
    return exit_code(lambda: _run(options), hint)


def _run(options):
    faults: list[str] = []
    unread: dict[str, int] = {}
    without = 0
    if options.coco:
        entries, without = read_coco(options.coco, options.expressions, faults)
    else:
        entries = read_json_lines(options.files, faults, unread, options.mask_path)
    summary = import_entries(
        entries,
        options.image_path or (options.coco or options.files[0]).parent,
        options.output_dir,
        options.name,
        split=options.split,
        val_share=options.val_share,
        masks_from_boxes=options.masks_from_boxes,
        overwrite=options.overwrite,
        faults=faults,
    )
    _report(summary, options.output_dir, options.name, unread, without)
    return 0


if __name__ == "__main__":
    sys.exit(main())
