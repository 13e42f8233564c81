"""The command line of weight files: `python -m model.weights inspect|convert`."""

import argparse
import os
import sys
from pathlib import Path

from config.command_line import add_config_arguments
from config.schema import ConfigError, load_config
from model.weights.hdf5 import WeightsError
from model.weights.inspection import describe
from model.weights.layouts import TAIL_LENGTH
from model.weights.native import BACKBONE_PREFIX, TRUNK_NAME, check_name
from model.weights.provenance import training_set


def main(arguments=None):
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (WeightsError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m model.weights", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    inspect = commands.add_parser("inspect", help="say what weight files are")
    inspect.add_argument("files", nargs="+", metavar="FILE")
    inspect.set_defaults(run=_inspect)

    convert = commands.add_parser("convert", help="turn a weight file into a .weights.h5 of ours")
    convert.add_argument("source", metavar="IN", help="published checkpoint, .weights, .h5, .keras")
    convert.add_argument("target", metavar="OUT", help="the file to write, NAME.weights.h5")
    add_config_arguments(convert)
    convert.add_argument("--half", action="store_true", help="store float16, at half the size")
    convert.add_argument(
        "--trained_on",
        metavar="TEXT",
        help="mark the file: coco (all of it), coco-clean (without the val and test images of "
        "RefCOCO, RefCOCO+ and RefCOCOg), imagenet or other text; default: what is known of IN",
    )
    convert.add_argument(
        "--ignore_rest",
        action="store_true",
        help="of a Darknet file, take the backbone even if it is not known what follows it",
    )
    convert.set_defaults(run=_convert)
    return parser


def _inspect(options):
    for path in options.files:
        print(describe(path))


def _convert(options):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from model.mcn import build_mcn
    from model.weights import load_pretrained, save_weights

    source, target = Path(options.source), Path(options.target)
    check_name(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise WeightsError(f"{target}: is the file to convert; name another one to write")
    trained_on = options.trained_on or training_set(source)[0]
    model = build_mcn(load_config(options.config, options.overrides))
    report = load_pretrained(model, source, ignore_rest=options.ignore_rest)
    part = filled_part(model, report)
    save_weights(part, target, half=options.half, trained_on=trained_on)
    print(report.table())
    print(report)
    print(describe(target))


def filled_part(model, report):
    """What of a network `load_pretrained` has filled: all of it, its backbone, or the trunk.

    Layers left as initialised stay out of the file, so that loading it reports them again.

    Args:
        model: network of `build_mcn`.
        report: `LoadReport` of filling it.

    Returns:
        keras.Model that shares the layers of `model`.
    """
    import keras

    from model.mcn import visual_backbone

    if not report.missing:
        return model
    if not any(name.startswith(BACKBONE_PREFIX) for name in report.missing):
        return visual_backbone(model)
    count = sum(
        1
        for layer in model.layers
        if layer.name.startswith(BACKBONE_PREFIX) and layer.name.endswith("_conv")
    )
    end = model.get_layer(f"{BACKBONE_PREFIX}{count - TAIL_LENGTH + 1}_conv").input
    return keras.Model(model.input["image"], end, name=TRUNK_NAME)


if __name__ == "__main__":
    raise SystemExit(main())
