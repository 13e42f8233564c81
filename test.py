"""Evaluates weights on one or several splits: REC accuracy, RES mask IoU, precision and
inconsistency error.

    python test.py --weights log/refcoco/best.weights.h5 --splits val testA testB
    python test.py --weights data/weights/mcn_refcoco_darknet.h5 --splits val testA testB
    python test.py --config config/config.json --set evaluate_set=data/anns/refcoco/testA.txt
    python test.py --predictions predictions.jsonl --splits val

Weights are a file that train.py wrote or a checkpoint of the authors (.h5, which
`python data/download.py mcn-refcoco-darknet` fetches). The settings come from --config, otherwise
from the config.json that training leaves beside the weights, or from the checkpoint itself: its
architecture, the data set of its name and the word vectors closest to those of its training. With
neither --weights nor --config, the weights are evaluate_model of config/config.json.

--splits names annotation files beside evaluate_set, without .txt. They are evaluated by one
network; a table compares them, for checkpoints of the authors with the published figures. Without
it, all sets of evaluate_set are evaluated, one after the other.

Sets with expressions that have no target, such as gRefCOCO, have measures of their own; --min_score
and --calibrate say which predictions are those of no target.

--predictions scores what any system predicted, without a network. docs/evaluation.md describes the
files that are read, and defines all measures. The data are those of --config, by default
config/config.json, and the folder is <output>/<data set>_<file>_<split>/ without --name.

Writes result.txt and result.json to <output>/<data set>_<split>/, and the table of several splits
to <output>/<data set>_splits.txt. Results there of other weights, settings or data are replaced
only with --overwrite, together with the files that result.json lists and the table. Other files
there, and those of them that were changed since, are never replaced or removed. Results whose place
is taken during their evaluation are written to <folder>.2. --overwrite also replaces an earlier
--dump in another folder.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.command_line import (
    DEFAULT_CONFIG,
    add_config_arguments,
    add_engine_arguments,
    add_output_argument,
    add_weights_argument,
    any_number,
    not_empty,
    not_negative,
    run,
)
from config.errors import UserError
from config.quiet import assume_constant_weights, quiet_tensorflow
from config.schema import PROJECT_ROOT, Config, load_config

if TYPE_CHECKING:
    from utils.prediction.run_folder import WeightSettings


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.predictions is not None:
        if arguments.weights is not None:
            parser.error("--predictions needs no network; leave out --weights")
        if any(o.startswith(("engine=", "precision=")) for o in arguments.overrides):
            parser.error("--predictions needs no network; leave out --engine and --precision")
        _score(arguments)
        return
    from utils.prediction.run_folder import settings_of_weights

    settings = settings_of_weights(arguments.weights, arguments.config, arguments.overrides)
    settings.print_warnings()
    quiet_tensorflow()

    config = settings.config
    several = bool(config.also_evaluate) and not arguments.splits
    if several and (arguments.name is not None or arguments.dump is not None):
        raise UserError(
            "--name and --dump are for one set, and evaluate_set names several; choose one of them "
            "with --set evaluate_set=FILE"
        )
    for one in config.each_evaluation() if several else [config]:
        _evaluate(one, settings, arguments)


def _evaluate(config: Config, settings: "WeightSettings", arguments: argparse.Namespace) -> None:
    """Evaluates a network on a set, or on splits of its data set."""
    from utils.evaluation.generalized.targets import is_generalized

    where = _where(arguments)
    if is_generalized(config.evaluate_set):
        from utils.evaluation.generalized.network import report_generalized

        report_generalized(
            config,
            settings.weights,
            *where,
            **_generalized_options(arguments),
            check_loaded=settings.check_unchanged,
        )
        return
    _check_min_score(arguments, config.evaluate_set)
    from utils.evaluation.splits import report_splits

    report_splits(
        config,
        settings.weights,
        *where,
        **_options(arguments),
        check_loaded=settings.check_unchanged,
    )


def _score(arguments: argparse.Namespace) -> None:
    """Scores the predictions of another system, without TensorFlow."""
    from utils.evaluation.generalized.targets import is_generalized

    config = load_config(arguments.config or PROJECT_ROOT / DEFAULT_CONFIG, arguments.overrides)
    if is_generalized(config.evaluate_set):
        from utils.evaluation.generalized.predictions import report_generalized_predictions

        options = _generalized_options(arguments)
        report_generalized_predictions(config, arguments.predictions, *_where(arguments), **options)
        return
    _check_min_score(arguments, config.evaluate_set)
    from utils.evaluation.scoring.report import report_predictions

    report_predictions(config, arguments.predictions, *_where(arguments), **_options(arguments))


def _where(arguments: argparse.Namespace) -> tuple[list[str], Path, str | None]:
    return arguments.splits, Path(arguments.output), arguments.name


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("dump", "dump_masks", "pictures", "overwrite", "breakdown")
    return {name: getattr(arguments, name) for name in names}


def _generalized_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options for sets with expressions that have no target."""
    names = ("dump", "dump_masks", "pictures", "breakdown")
    unused = [f"--{name}" for name in names if getattr(arguments, name)]
    if unused:
        raise UserError(
            f"{', '.join(unused)}: not available for sets with expressions that have no target; "
            "leave it out"
        )
    return {name: getattr(arguments, name) for name in ("min_score", "calibrate", "overwrite")}


def _check_min_score(arguments: argparse.Namespace, evaluate_set: str) -> None:
    """Raises `UserError` if an option is given that only sets without targets have."""
    if arguments.min_score is not None or arguments.calibrate:
        raise UserError(
            f"{evaluate_set}: every expression has a target there; --min_score and --calibrate are "
            "for sets such as gRefCOCO"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser, of_weights=True)
    add_engine_arguments(parser)
    add_weights_argument(parser, help="weights to evaluate (default: evaluate_model of --config)")
    parser.add_argument(
        "--predictions",
        type=not_empty,
        metavar="FILE",
        help="score predictions that any system wrote to FILE, JSON lines or a JSON list, instead "
        "of a network; with several --splits, also FILE with _<split> appended to its stem",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        default=[],
        metavar="SPLIT",
        help="splits to evaluate, such as val testA testB (default: the sets of evaluate_set)",
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
        help="draw the N best, median and worst predictions: at most 24 of each in pictures.png, "
        "1,000 on index.html, a page with filters by IoU and inconsistency",
    )
    parser.add_argument(
        "--min_score",
        type=any_number,
        metavar="S",
        help="on sets with expressions that have no target, such as gRefCOCO: predictions with "
        "lower scores are those of no target (default: no threshold)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="choose --min_score on the split val, which must be among --splits, for the highest "
        "gIoU",
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
    assume_constant_weights()
    run(main, "Results that were printed are kept; run the same command to evaluate again.")
