"""Show a prepared data set, to look at before training on it.

    python data/view.py --config config/config.json
    python data/view.py --config data/anns/mine/config.json --splits train val --words red left
    python data/view.py --config config/demo.json --count 60 --output result/view/demo.png

Writes a page for the browser (.html) or a sheet (.png) that shows, per referent, the image, its box
and mask, and all expressions. The page can be filtered by split and by words, contains its pictures
and needs no network. Referents of which a file is missing or damaged are shown with the fault.
Words are whole words of one expression, in any case and without punctuation around them.

Only the paths of annotation lines, images and masks in the config count. A page or sheet that this
command has written is replaced; any other file, and one that was changed since, is not.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import add_config_arguments, exit_code, not_empty, not_negative
from config.errors import printable
from config.schema import load_config


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = add_config_arguments(argparse.ArgumentParser(description=__doc__))
    parser.add_argument(
        "--splits",
        nargs="+",
        default=[],
        metavar="SPLIT",
        help="splits to show, such as train val testA (default: train_set and evaluate_set)",
    )
    parser.add_argument(
        "--words",
        nargs="+",
        default=[],
        metavar="WORD",
        help="show only referents that have an expression with all these words, in any case",
    )
    parser.add_argument(
        "--count",
        type=not_negative,
        metavar="N",
        help="show N referents, evenly spread over those that match; 0 for all (default: 200 on a "
        "page, 24 on a sheet; at most 3,000 and 300)",
    )
    parser.add_argument(
        "--output",
        type=not_empty,
        metavar="FILE",
        help="file that ends with .html or .png (default: result/view/<data set>.html)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int | None:
    """Runs the command line and returns its exit code."""
    options = _parse_arguments(arguments)
    return exit_code(lambda: _run(options), "Nothing was written; run the same command again.")


def _run(options: argparse.Namespace) -> int:
    config = load_config(options.config, options.overrides, report=print)

    from utils.visualization.prepared_set import view_set

    written = view_set(config, options.output, options.splits, options.words, options.count)
    print(printable(written))  # Names of files hold anything.
    return 0


if __name__ == "__main__":
    sys.exit(main())
