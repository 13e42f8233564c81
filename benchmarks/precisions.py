"""Compares the answers of engines and precisions on the splits of a data set.

    python benchmarks/precisions.py --weights log/demo/best.weights.h5 --splits val testA testB

Each variant evaluates the same network from the same float32 weights. Prints a table, in Markdown:
accuracy, mean IoU of the masks, and how far boxes and masks are from those of the first variant.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

if not __package__:  # Run as a script: make the packages of the project importable.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import add_config_arguments
from config.quiet import assume_constant_weights, quiet_tensorflow
from config.schema import Config

# Engine and precision; the first variant is the one that the others are compared with.
VARIANTS = (
    ("tensorflow", "float32"),
    ("tensorflow", "mixed_bfloat16"),
    ("tensorflow", "mixed_float16"),
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("openvino", "mixed_bfloat16"),
)
COLUMNS = (
    "", "Acc@{thresh:g}", "mean IoU", "mean difference of boxes, pixels",
    "boxes that move by more than a pixel", "mean difference of mask IoU",
)  # fmt: skip


def compare_answers(
    config: Config, splits: Sequence[str], variants: Sequence[tuple[str, str]] = VARIANTS
) -> str:
    """Evaluates the network of a config by several engines and precisions.

    Args:
        config: the settings; evaluate_model are the weights.
        splits: names of annotation files beside evaluate_set, without .txt.
        variants: pairs of the config keys engine and precision.

    Returns:
        The table, over all expressions of all splits. The difference of two boxes is the largest of
        their four coordinates, in pixels of the letterboxed input.
    """
    from utils.evaluation.evaluator import build_evaluator
    from utils.prediction.grounder import load_grounder

    paths = [Path(config.evaluate_set).with_name(f"{split}.txt") for split in splits]
    evaluators = [build_evaluator(config, path) for path in paths]
    heads = [column.format(thresh=config.det_acc_thresh) for column in COLUMNS]
    lines, first = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"], None
    for engine, precision in variants:
        grounder = load_grounder(config, engine=engine, precision=precision)
        cases = [case for each in evaluators for case in each.measure(grounder, config.word_len)]
        boxes = np.array([case.box_xyxy_input for case in cases], np.float64)
        ious = np.array([(case.det_iou, case.seg_iou) for case in cases])
        first = first or (boxes, ious)
        moved = np.abs(boxes - first[0]).max(axis=1)
        lines.append(
            f"| {engine} {precision.removeprefix('mixed_')} "
            f"| {100 * np.mean(ious[:, 0] > config.det_acc_thresh):.2f} "
            f"| {100 * ious[:, 1].mean():.2f} | {moved.mean():.2f} "
            f"| {100 * np.mean(moved > 1):.1f} % | {np.abs(ious - first[1])[:, 1].mean():.4f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = add_config_arguments(
        argparse.ArgumentParser(
            description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        ),
        of_weights=True,
    )
    parser.add_argument("--weights", required=True, metavar="FILE", help="the weights to evaluate")
    parser.add_argument("--splits", nargs="+", required=True, metavar="SPLIT", help="what to read")
    options = parser.parse_args()
    assume_constant_weights()
    quiet_tensorflow()

    from utils.prediction.run_folder import settings_of_weights

    settings = settings_of_weights(options.weights, options.config, options.overrides)
    config = settings.config.replace(evaluate_model=str(Path(options.weights).resolve()))
    print(compare_answers(config, options.splits))


if __name__ == "__main__":
    main()
