"""The body of test.py: one or several splits, each with its own folder, and their table."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from config.errors import UserError
from config.files import write_bytes
from config.schema import Config
from utils.evaluation.published import is_splits_table, published_scores, sealed, splits_table
from utils.evaluation.report import report_tasks
from utils.evaluation.results.writing import Task


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
    evaluate_set = Path(config.evaluate_set)
    dataset = evaluate_set.parent.name
    chosen = list(dict.fromkeys(splits)) or [evaluate_set.stem]
    _check_names(chosen, evaluate_set)
    table_path = output / f"{name or dataset}_splits.txt"
    tasks = [
        Task(
            str(evaluate_set.with_name(f"{split}.txt")),
            output / (name if name and not splits else f"{name or dataset}_{split}"),
            _dump_of(dump, split if len(chosen) > 1 else None, table_path),
            table_path,
        )
        for split in chosen
    ]
    scores = published_scores(weights, dataset, config.det_acc_thresh)
    tabulated = len(chosen) > 1 or bool(scores.keys() & {*chosen})
    if tabulated:
        _check_table(table_path)
    results = report_tasks(
        config, tasks, weights, pictures, overwrite, check_loaded, dump_masks, breakdown
    )
    if tabulated:
        by_split = dict(zip(chosen, results, strict=True))
        table = splits_table(by_split, weights, dataset, config.det_acc_thresh)
        print(f"\n{table}")
        _check_table(table_path)  # Again: somebody may have edited it during the evaluation.
        write_bytes(table_path, sealed(table))
    print(f"Results are in {', '.join(f'{task.folder}/' for task in tasks)}")


def _check_names(splits: Sequence[str], evaluate_set: Path) -> None:
    """Raises `UserError` if some of the splits of a prepared data set do not exist."""
    known = sorted(path.stem for path in evaluate_set.parent.glob("*.txt"))
    unknown = [split for split in splits if split not in known]
    if known and unknown:
        raise UserError(
            f"{evaluate_set.parent}: has no {', '.join(f'{split}.txt' for split in unknown)}; its "
            f"splits are {', '.join(known)}"
        )


def _check_table(path: Path) -> None:
    """Raises `UserError` if the table of splits would replace anything but an earlier one."""
    if os.path.lexists(path) and not is_splits_table(path):
        raise UserError(
            f"{path}: exists and is not a table that test.py wrote, or has changed since; move it, "
            "or name the results by --name"
        )


def _dump_of(dump: str | None, split: str | None, table: Path) -> Path | None:
    """The file for the dump of a split; raises `UserError` if it is that of the table."""
    if dump is None:
        return None
    path = Path(dump)
    path = path if split is None else path.with_stem(f"{path.stem}_{split}")
    if path.resolve() == table.resolve():
        raise UserError(f"--dump {dump}: is the file of the table of splits; name another file")
    return path
