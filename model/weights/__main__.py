"""Identifies weight files and converts them to the format of this project.

    python -m model.weights inspect FILE ...
    python -m model.weights convert IN OUT.weights.h5

docs/weights.md lists the formats.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config.command_line import add_config_arguments, run
from config.quiet import quiet_tensorflow
from config.schema import load_config
from model.weights import LoadReport, WeightsError, load_pretrained
from model.weights.inspection import describe
from model.weights.layouts import BACKBONE, NETWORK, TRUNK, part_of
from model.weights.native import check_target, write_target
from model.weights.provenance import training_set

if TYPE_CHECKING:
    import keras


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        arguments: of the command line; those of the process by default.
    """
    options = _parser().parse_args(arguments)
    options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    inspect = commands.add_parser("inspect", help="describe weight files")
    inspect.add_argument("files", nargs="+", metavar="FILE", help="weight files of any format")
    inspect.set_defaults(run=_inspect)

    convert = commands.add_parser("convert", help="convert a weight file to .weights.h5")
    convert.add_argument(
        "source", metavar="IN", help="weight file of any format, or a name such as imagenet"
    )
    convert.add_argument("target", metavar="OUT", help="file to write, NAME.weights.h5")
    add_config_arguments(convert)
    convert.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    convert.add_argument("--half", action="store_true", help="store float16, half the size")
    convert.add_argument(
        "--trained_on",
        metavar="TEXT",
        help="mark the file: coco (all of it), coco-clean (without the val and test images of "
        "RefCOCO, RefCOCO+ and RefCOCOg), imagenet or any other text (default: what is known "
        "about IN)",
    )
    convert.add_argument(
        "--ignore_rest",
        action="store_true",
        help="use the backbone of a Darknet file even if what follows it is unknown",
    )
    convert.set_defaults(run=_convert)
    return parser


def _inspect(options: argparse.Namespace) -> None:
    refused = []
    for path in options.files:
        try:
            print(describe(path))
        except (WeightsError, OSError) as error:
            refused.append(str(error))
    if refused:
        raise WeightsError("\n".join(refused))


def _convert(options: argparse.Namespace) -> None:
    source, target = options.source, Path(options.target)
    if target.exists() and os.path.exists(source) and target.samefile(source):
        raise WeightsError(f"{target}: is the file to convert; specify another file to write")
    check_target(target, options.overwrite)
    config = load_config(options.config, options.overrides)
    trained_on = options.trained_on or training_set(source)[0]

    quiet_tensorflow()
    from model.mcn import build_mcn

    model = build_mcn(config)
    report = load_pretrained(model, source, ignore_rest=options.ignore_rest)
    part = part_of(model, filled_part(model, report))
    written = write_target(part, target, options.overwrite, options.half, trained_on)
    print(report.table())
    print(report)
    print(describe(written))


def filled_part(model: "keras.Model", report: LoadReport) -> str:
    """The part of a network that `load_pretrained` has filled.

    Layers that keep their initial values do not belong in a file, so that loading it reports them
    again.

    Args:
        model: network of `build_mcn`.
        report: the report of filling it.

    Returns:
        One of `model.weights.layouts.PARTS`.
    """
    if not report.missing:
        return NETWORK
    backbone = {layer.name for layer in part_of(model, BACKBONE).layers}
    return TRUNK if backbone & set(report.missing) else BACKBONE


if __name__ == "__main__":
    run(main, "No file was written.")
