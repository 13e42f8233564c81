"""Evaluates weights on a split: REC accuracy, RES mask IoU, precision and inconsistency error.

    python test.py --config config/config.json --weights log/refcoco/best.weights.h5
    python test.py --set evaluate_set=data/anns/refcoco/testA.txt --name refcoco_testA

Weights are a file that train.py wrote or a published checkpoint (.h5, with --set rnn_cell=gru).
Writes result.txt and result.json to <output>/<name>/. Results there of other weights or settings
are replaced only with --overwrite.
"""

import argparse
from pathlib import Path

from config.command_line import (
    add_config_arguments,
    add_output_argument,
    add_weights_argument,
    run,
)
from config.quiet import quiet_tensorflow
from config.schema import load_config


def main() -> None:
    arguments = _parser().parse_args()
    config = load_config(arguments.config, arguments.overrides)
    quiet_tensorflow()

    from utils.evaluation.report import report

    annotations = Path(config.evaluate_set)
    name = arguments.name or f"{annotations.parent.name}_{annotations.stem}"
    folder = Path(arguments.output) / name
    report(
        config,
        folder,
        arguments.weights,
        arguments.dump,
        arguments.pictures,
        arguments.overwrite,
    )
    print(f"Results are in {folder}/")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    add_weights_argument(parser, help="weights to evaluate (default: evaluate_model of the config)")
    add_output_argument(parser, default="result", help="folder of the results")
    parser.add_argument(
        "--name", help="folder of this result in --output (default: <data set>_<split>)"
    )
    parser.add_argument("--dump", metavar="FILE", help="write one JSON line per expression to FILE")
    parser.add_argument(
        "--pictures",
        type=int,
        default=0,
        metavar="N",
        help="draw the N best, N median and N worst predictions",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results of other weights or settings, and an existing --dump",
    )
    return parser


if __name__ == "__main__":
    run(main, "Nothing was written; run the same command to evaluate again.")
