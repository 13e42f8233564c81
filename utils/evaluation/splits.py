"""The body of test.py: evaluates weights on splits, each with its own folder, and their table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from config.errors import UserError
from config.schema import Config
from utils.evaluation.report import report_tasks
from utils.evaluation.results.tasks import SplitTasks


def report_splits(
    config: Config,
    weights: str,
    splits: Sequence[str],
    output: Path,
    name: str | None = None,
    *,
    dump: str | None = None,
    dump_masks: bool = False,
    pictures: int = 0,
    overwrite: bool = False,
    check_loaded: Callable[[], object] | None = None,
    breakdown: bool = False,
) -> None:
    """Evaluates weights on splits of the data set of config.evaluate_set.

    Prints and writes the results of each split and, if there are several or published figures to
    compare them with, one table.

    Args:
        config: the settings.
        weights: the weight file.
        splits: names of annotation files beside evaluate_set, without .txt; evaluate_set alone if
            there are none.
        output: folder of the results.
        name: folder of the result in `output`, or the beginning of the names for several splits;
            by default that of the data set.
        dump: file for one JSON line per expression; the split is appended for several of them.
        dump_masks: whether the lines of the dump contain the predicted masks.
        pictures: number of best, median and worst predictions to draw per split.
        overwrite: whether to replace results of other weights, settings or data.
        check_loaded: of `utils.evaluation.report.report_tasks`.
        breakdown: whether to print and write metrics of parts of each split, too.

    Raises:
        As `utils.evaluation.report.report`.
    """
    if dump_masks and dump is None:
        raise UserError("--dump_masks adds masks to the lines of --dump; name its file with --dump")
    chosen = SplitTasks(config.evaluate_set, splits, output, name, dump)
    chosen.check_table(weights, config.det_acc_thresh)
    results = report_tasks(
        config, chosen.tasks, weights, pictures, overwrite, check_loaded, dump_masks, breakdown
    )
    chosen.report(results, weights, config.det_acc_thresh)
