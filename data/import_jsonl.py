"""Import own data: JSON lines, or a COCO file with expressions → annotation lines and masks.

    python data/import_jsonl.py photos/objects.jsonl --name mine

Each line of the input describes one object:

    {"image": "a.jpg", "box": [10, 20, 110, 220], "polygon": [[10, 20, 110, 20, 60, 220]],
     "expressions": ["the red kite", "kite on the left"], "split": "train"}

  image         file relative to --image_path (default: the folder of the input)
  box           left, top, right, bottom in pixels; if omitted, the bounding box of the mask
  polygon       list of polygons [x, y, x, y, …] in pixels, or
  rle           COCO run lengths {"size": [height, width], "counts": …}, or
  mask          image of the same size, black or transparent outside the object: PNG, BMP, GIF,
                PPM, TGA or TIFF, because JPEG, WebP and AVIF can change the values at the border
  expressions   one or more expressions
  split         train, val, test, … (default: --split)
  id            number of the only expression in its data set, by which files of predictions may
                name it (test.py --predictions); written to ids.jsonl

Writes OUTPUT/anns/NAME/<split>.txt, OUTPUT/masks/NAME/masks.jsonl and
OUTPUT/anns/NAME/config.json, which train.py, test.py and data/check.py accept as --config. The
images are not copied. If any object has a fault, nothing is imported and all faults are listed.

With --like RUN, config.json describes the network of a finished run and starts from its weights.

--overwrite replaces an earlier import once the new one is complete. Files that were changed or
added since, such as an edited config.json, are kept, the changed ones as config.json.2.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import add_output_argument, counted, exit_code, not_empty
from config.schema import PROJECT_ROOT
from data.preparation.json_fields import EntryError
from data.preparation.own.coco_entries import read_coco_entries
from data.preparation.own.entries import OwnData, check_name, read_json_lines
from data.preparation.own.importing import ImportOptions, ImportSummary, import_data
from data.preparation.own.writing import settings_like
from data.preparation.wording import plural

DATA_FOLDER = PROJECT_ROOT / "data"
EPILOG = """To import a COCO file:

    python data/import_jsonl.py --coco instances.json --name mine --image_path photos

It reads "expressions" or "captions" of the annotations. --expressions FILE reads them from JSON
lines {"ann_id": 17, "expressions": ["the red kite"]} instead."""


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="JSON-lines files")
    parser.add_argument(
        "--coco", type=Path, metavar="FILE", help="COCO file to import instead of JSON lines"
    )
    parser.add_argument(
        "--expressions",
        type=Path,
        metavar="FILE",
        help="JSON lines with the expressions for the annotations of --coco",
    )
    parser.add_argument("--name", required=True, help="name of the data set")
    parser.add_argument(
        "--image_path",
        type=Path,
        metavar="DIR",
        help="folder of the images (default: the folder of the input)",
    )
    parser.add_argument(
        "--mask_path",
        type=Path,
        metavar="DIR",
        help="folder of the mask images (default: the folder of the input)",
    )
    add_output_argument(
        parser, None, "folder to write anns/ and masks/ to (default: the project's data/)"
    )
    parser.add_argument(
        "--split", default="train", help="split of objects that name none (default: train)"
    )
    parser.add_argument(
        "--val_share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the images without a split to assign to the split val, such as 0.1",
    )
    parser.add_argument(
        "--masks_from_boxes",
        action="store_true",
        help="fill the box of objects without a mask; segmentation then learns to predict boxes",
    )
    parser.add_argument(
        "--like",
        type=not_empty,
        metavar="RUN",
        help="finished run to fine-tune: its folder, config.json or weights; config.json takes the "
        "settings of its network and starts from its best weights",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier import of this name"
    )
    options = parser.parse_args(arguments)
    _check_options(parser, options)
    return options


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if bool(options.files) == bool(options.coco):
        parser.error("give either JSON-lines files or --coco FILE")
    if options.expressions and not options.coco:
        parser.error("--expressions requires --coco; JSON lines contain their expressions")
    if not 0 <= options.val_share < 1:
        parser.error(f"--val_share {options.val_share:g}: must be at least 0 and less than 1")
    try:
        check_name("--name", options.name)
        check_name("--split", options.split)
    except EntryError as error:
        parser.error(str(error))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    hint = "Either nothing was imported or replaced, or all of it; run the same command again."
    return exit_code(lambda: _run(_parse_arguments(arguments)), hint)


def _run(options: argparse.Namespace) -> int:
    settings = settings_like(options.like) if options.like else {}
    if options.coco:
        data = read_coco_entries(options.coco, options.expressions)
    else:
        data = read_json_lines(options.files, options.mask_path)
    output = Path(options.output or DATA_FOLDER)
    summary = import_data(
        data,
        options.image_path or (options.coco or options.files[0]).parent,
        output,
        options.name,
        ImportOptions(
            options.split,
            options.val_share,
            options.masks_from_boxes,
            options.overwrite,
            settings,
        ),
    )
    if settings:
        weights = PROJECT_ROOT / settings["pretrained_weights"]
        data.notes.append(f"the config starts from {weights}, with the network of that run")
    _report(summary, data, output, options.name)
    return 0


def _report(summary: ImportSummary, data: OwnData, output: Path, name: str) -> None:
    for split, referents in summary.referents.items():
        counts = (
            plural(len(referents), "object"),
            plural(sum(len(referent.expressions) for referent in referents), "expression"),
            plural(len({referent.image for referent in referents}), "image"),
        )
        print(f"{split:6} {', '.join(counts)} → {output / 'anns' / name / split}.txt")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(summary.masks.items()))
    print(f"masks  {kinds} → {output / 'masks' / name}")
    for note in (*data.notes, *_notes(summary)):
        print(f"note: {note}")
    config = output / "anns" / name / "config.json"
    print(f"check it:    python data/check.py --config {config}")
    print(f"train on it: python train.py --config {config}")


def _notes(summary: ImportSummary) -> Iterator[str]:
    for file in summary.kept_files:
        yield f"{file} is not as the earlier import recorded it and is kept, with a number appended"
    for note, places in summary.notes.items():
        yield f"{note}: {counted(places)}"
    if summary.masks.get("filled box"):
        yield "objects without a mask have a filled box: segmentation learns to predict boxes"
    if list(summary.referents) == ["train"]:
        yield (
            "there is no split to evaluate on, so config.json evaluates on the training set; name "
            "splits, or set images aside with --val_share 0.1"
        )
    images = {split: {r.image for r in referents} for split, referents in summary.referents.items()}
    for first, second in itertools.combinations(images, 2):
        shared = len(images[first] & images[second])
        if shared:
            verb = "is" if shared == 1 else "are"
            yield (
                f"{plural(shared, 'image')} {verb} in both {first} and {second}: scores on "
                "training images are inflated (leakage)"
            )


if __name__ == "__main__":
    sys.exit(main())
