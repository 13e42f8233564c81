"""The tasks of an evaluation on one or several splits, and the table of their results."""

import os
from collections.abc import Sequence
from pathlib import Path

from config.errors import UserError
from config.files import write_bytes
from data.preparation.manifest import read_manifest
from utils.evaluation.metrics import Result
from utils.evaluation.published import is_splits_table, published_scores, sealed, splits_table
from utils.evaluation.results.writing import Task


class SplitTasks:
    """The tasks of an evaluation on splits of a data set.

    Args:
        evaluate_set: annotation file of the data set.
        splits: names of annotation files beside it, without .txt; `evaluate_set` alone if there
            are none.
        output: folder of the results.
        name: folder of the result in `output`, or the beginning of the names for several splits;
            None for `base`.
        dump: file for one JSON line per expression; the split is appended for several of them.
        base: the beginning of the names of folders by default; None for the data set's name.

    Attributes:
        dataset: name of the data set; that of a set without the labels that were judged wrong says
            so, since its results are not compared with published ones.
        splits: names of the splits.
        tasks: one per split.

    Raises:
        UserError: there is no such split, or the dump is the file of the table.
    """

    def __init__(
        self,
        evaluate_set: str | os.PathLike,
        splits: Sequence[str],
        output: Path,
        name: str | None = None,
        dump: str | None = None,
        base: str | None = None,
    ) -> None:
        path = Path(evaluate_set)
        manifest = read_manifest(path.parent)
        is_reviewed = manifest is not None and manifest.is_reviewed
        self.dataset = path.parent.name + " (reviewed)" * is_reviewed
        base = base or path.parent.name
        self.splits = list(dict.fromkeys(splits)) or [path.stem]
        _check_names(self.splits, path)
        self._table = output / f"{name or base}_splits.txt"
        self.tasks = [
            Task(
                str(path.with_name(f"{split}.txt")),
                output / (name if name and not splits else f"{name or base}_{split}"),
                _dump_of(dump, split if len(self.splits) > 1 else None, self._table),
                self._table,
            )
            for split in self.splits
        ]

    def check_table(self, source: str | os.PathLike, det_thresh: float) -> None:
        """Raises `UserError` if the table would replace anything but an earlier one.

        Args:
            source: what is evaluated, such as the weight file.
            det_thresh: threshold of the box accuracy.
        """
        if self._is_tabulated(source, det_thresh):
            _check_table(self._table)

    def report(
        self, results: Sequence[Result], source: str | os.PathLike, det_thresh: float
    ) -> None:
        """Prints and writes the table, if there are several splits or published figures.

        Args:
            results: one per split.
            source, det_thresh: as those of `check_table`.

        Raises:
            UserError: as `check_table`.
            OSError: the table cannot be written.
        """
        if self._is_tabulated(source, det_thresh):
            by_split = dict(zip(self.splits, results, strict=True))
            table = splits_table(by_split, source, self.dataset, det_thresh)
            print(f"\n{table}")
            _check_table(self._table)  # Again: somebody may have edited it meanwhile.
            write_bytes(self._table, sealed(table))
        print(f"Results are in {', '.join(f'{task.folder}/' for task in self.tasks)}")

    def _is_tabulated(self, source: str | os.PathLike, det_thresh: float) -> bool:
        scores = published_scores(source, self.dataset, det_thresh)
        return len(self.splits) > 1 or bool(scores.keys() & {*self.splits})


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
