"""Evaluates weights on a set: REC accuracy, RES mask IoU, precision and inconsistency.

    python test.py --config config/config.json --set evaluate_model=log/refcoco/best.weights.h5
    python test.py --set evaluate_set=data/anns/refcoco/testA.txt --name refcoco_testA

`evaluate_model` is a file of ours or a published checkpoint (.h5; with rnn_cell=gru). Writes
result/<name>/result.txt and result.json.
"""

import argparse
from pathlib import Path

from config.command_line import run
from config.schema import add_config_arguments, load_config


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("--name", help="folder under --output (default: <data set>_<split>)")
    parser.add_argument("--output", default="result", help="where results go (default: result)")
    parser.add_argument("--dump", metavar="FILE", help="write one JSON line an expression")
    parser.add_argument(
        "--pictures", type=int, default=0, metavar="N", help="draw the N best, worst and median"
    )
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.overrides)

    from utils.evaluation.report import report

    annotations = Path(config.evaluate_set)
    name = arguments.name or f"{annotations.parent.name}_{annotations.stem}"
    folder = Path(arguments.output) / name
    print(report(config, folder, dump=arguments.dump, pictures=arguments.pictures))
    print(f"Written to {folder}/")


if __name__ == "__main__":
    run(main, "Nothing was written; run it again to evaluate the whole set.")
