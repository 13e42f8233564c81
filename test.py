"""Evaluates weights on one or several splits: REC accuracy, RES mask IoU, precision and
inconsistency error.

    python test.py --weights log/refcoco/best.weights.h5 --splits val testA testB
    python test.py --weights data/weights/mcn_refcoco_darknet.h5 --splits val testA testB
    python test.py --config config/config.json --set evaluate_set=data/anns/refcoco/testA.txt

Weights are a file that train.py wrote or a checkpoint of the authors (.h5, which
`python data/download.py mcn-refcoco-darknet` fetches). The settings come from --config, otherwise
from the config.json that training leaves beside the weights, or from the checkpoint itself: its
architecture, the data set of its name and the word vectors closest to those of its training. With
neither --weights nor --config, the weights are evaluate_model of config/config.json.

--splits names annotation files beside evaluate_set, without .txt. They are evaluated by one
network; a table compares them, for checkpoints of the authors with the published figures.

Writes result.txt and result.json to <output>/<data set>_<split>/, and the table of several splits
to <output>/<data set>_splits.txt. Results there of other weights, settings or data are replaced
only with --overwrite, together with the files that result.json lists and the table. Other files
there, and those of them that were changed since, are never replaced or removed. Results whose place
is taken during their evaluation are written to <folder>.2. --overwrite also replaces an earlier
--dump in another folder.
"""

import argparse
from pathlib import Path

from config.command_line import (
    add_config_arguments,
    add_output_argument,
    add_weights_argument,
    not_negative,
    run,
)
from config.quiet import quiet_tensorflow


def main() -> None:
    arguments = _parser().parse_args()
    from utils.prediction.run_folder import settings_of_weights

    settings = settings_of_weights(arguments.weights, arguments.config, arguments.overrides)
    settings.print_warnings()
    quiet_tensorflow()

    from utils.evaluation.splits import report_splits

    report_splits(
        settings.config,
        settings.weights,
        arguments.splits,
        Path(arguments.output),
        arguments.name,
        dump=arguments.dump,
        dump_masks=arguments.dump_masks,
        pictures=arguments.pictures,
        overwrite=arguments.overwrite,
        check_loaded=settings.check_unchanged,
        breakdown=arguments.breakdown,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, of_weights=True)
    add_weights_argument(parser, help="weights to evaluate (default: evaluate_model of --config)")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=[],
        metavar="SPLIT",
        help="splits to evaluate, such as val testA testB (default: evaluate_set alone)",
    )
    add_output_argument(parser, default="result", help="folder of the results")
    parser.add_argument(
        "--name",
        help="folder of this result in --output (default: <data set>_<split>); with --splits, the "
        "beginning of its name in place of <data set>",
    )
    parser.add_argument(
        "--dump",
        metavar="FILE",
        help="write one JSON line per expression to FILE; with several --splits, to FILE with "
        "_<split> appended to its stem",
    )
    parser.add_argument(
        "--dump_masks",
        action="store_true",
        help="add the predicted masks to the lines of --dump, as run lengths of COCO",
    )
    parser.add_argument(
        "--pictures",
        type=not_negative,
        default=0,
        metavar="N",
        help="draw the N best, N median and N worst predictions",
    )
    parser.add_argument(
        "--breakdown",
        action="store_true",
        help="print metrics by size and category of the object and by length and words of the "
        "expression, with 95 %% intervals; result.json always contains them",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results of other weights, settings or data, and an earlier --dump",
    )
    return parser


if __name__ == "__main__":
    run(main, "Results that were printed are kept; run the same command to evaluate again.")
