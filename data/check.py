"""Check a prepared data set before training on it.

    python data/check.py --config config/config.json
    python data/check.py --config data/anns/mine/config.json --quick

Opens every image and mask of the config's training and evaluation sets and reports

  - problems of data and files that would stop a run, such as missing or damaged
    files, or masks of another preparation than the annotations;
  - oddities: boxes that extend beyond their image, empty masks, boxes that disagree with their
    mask, images shared between splits;
  - statistics: box sizes and how well the anchors fit them, expression lengths, the share of
    expressions that word_len truncates and of words that this drops, words without a vector.

With --train_sets and --evaluate_sets, it only looks for images that these sets share, also across
data sets:

    python data/check.py --train_sets data/anns/refcoco/train.txt data/anns/refcoco+/train.txt \\
        --evaluate_sets data/anns/refcocog/val.txt data/anns/refcocog/test.txt

--list_shared_images FILE lists all of them, since only the first few are printed.

It builds no network. `python train.py --dry-run` does, and so finds names of backbones, text
encoders and weights that do not exist, and weights that do not fit.

Exit code: 0 if no data or file would stop a run, 1 if one would, or if --train_sets share images
with --evaluate_sets, 2 if the check itself failed, for example because the settings are invalid.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import add_config_arguments, exit_code, not_empty
from config.schema import load_config
from data.preparation.wording import plural


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = add_config_arguments(argparse.ArgumentParser(description=__doc__))
    parser.add_argument(
        "--quick",
        action="store_true",
        help="open images without decoding them: several times faster, but misses truncated files",
    )
    parser.add_argument(
        "--write_anchors",
        type=not_empty,
        metavar="FILE",
        help="write the proposed anchors to FILE, to be used as anchors_file",
    )
    for kind in ("train", "evaluate"):
        parser.add_argument(
            f"--{kind}_sets",
            nargs="+",
            type=not_empty,
            metavar="FILE",
            help=f"annotation files to {kind} on: only look for images that training and "
            "evaluation sets share; images of COCO are recognized by their id",
        )
    parser.add_argument(
        "--list_shared_images",
        type=not_empty,
        metavar="FILE",
        help="write the names of all images that --train_sets and --evaluate_sets share to FILE, "
        "which must not exist yet, one per line",
    )
    options = parser.parse_args(arguments)
    if bool(options.train_sets) != bool(options.evaluate_sets):
        parser.error("--train_sets and --evaluate_sets need each other")
    other_config = options.config != parser.get_default("config")
    others = (options.write_anchors, options.quick, options.overrides, other_config)
    if options.train_sets and any(others):
        parser.error("--train_sets only looks for shared images; leave out the other options")
    if options.list_shared_images and not options.train_sets:
        parser.error("--list_shared_images needs --train_sets and --evaluate_sets")
    return options


def main(arguments: list[str] | None = None) -> int | None:
    """Runs the command line and returns its exit code."""
    options = _parse_arguments(arguments)
    return exit_code(lambda: _run(options), "Nothing was changed; run the same command again.")


def _run(options: argparse.Namespace) -> int:
    if options.train_sets:
        return _look_for_shared_images(options)
    config = load_config(options.config, options.overrides, report=print)

    from data.loading.anchors import check_anchor_target
    from data.preparation.check_report import Report, check, write_proposal

    if options.write_anchors:
        check_anchor_target(options.write_anchors)
    report = Report()
    proposal = check(config, report, decode=not options.quick)
    if options.write_anchors:
        write_proposal(options.write_anchors, proposal)
    report.summary()
    return 1 if report.problems else 0


def _look_for_shared_images(options: argparse.Namespace) -> int:
    from data.preparation.leakage import check_new, report_shared_images, write_image_list

    path = options.list_shared_images
    if path:
        check_new(path)
    shared = report_shared_images(options.train_sets, options.evaluate_sets)
    if path:
        write_image_list(path, shared)
        print(f"{plural(len(shared), 'image')} → {path}")
    return 1 if shared else 0


if __name__ == "__main__":
    sys.exit(main())
