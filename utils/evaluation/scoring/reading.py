"""The files of predictions of one or several splits: which they are, their rows, and what results
follow from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import file_sha256
from config.schema import Config
from data.loading.annotations import Referent
from data.loading.masks import FILE_NAME as MASKS
from data.preparation.sidecars.ids import FILE_NAME as IDS
from data.preparation.sidecars.ids import read_ids
from utils.evaluation.results.writing import Task
from utils.evaluation.scoring.matching import Matches, match
from utils.evaluation.scoring.rows import Row, check_file, read_rows


@dataclass(frozen=True, eq=False)
class SetPredictions:
    """The predictions for one set.

    Attributes:
        file: the file that holds them.
        tasks: "REC" if rows of the file have boxes, "RES" if some have masks.
        matches: the rows of the file and the sets that it is for.
        number: of the set among those.
    """

    file: Path
    tasks: tuple[str, ...]
    matches: Matches
    number: int

    @property
    def rows(self) -> Sequence[Row | None]:
        """The prediction for each expression of the set, or None."""
        return self.matches.sets[self.number].rows

    def to_json(self) -> dict[str, Any]:
        """What result.json says about the rows for the set."""
        return self.matches.to_json(self.number)

    def source(
        self,
        config: Config,
        task: Task,
        keys: Sequence[str],
        mask_images: Mapping[str, str],
        with_masks: bool,
    ) -> dict[str, Any]:
        """What the result follows from, see `utils.evaluation.result_folder.ResultFolder`.

        Args:
            config: the settings.
            task: the set.
            keys: the settings that count.
            mask_images: SHA-256 of the mask images that rows name.
            with_masks: whether masks are compared.
        """
        masks, ids = Path(config.seg_gt_path) / MASKS, Path(task.set_path).with_name(IDS)
        by_ids = ids.is_file() and any(row is not None and row.needs_ids for row in self.rows)
        return {
            "settings": {"predictions": str(self.file)}
            | {key: getattr(config, key) for key in keys}
            | {"evaluate_set": task.set_path},
            "weights_sha256": None,
            "data_sha256": {
                "predictions": file_sha256(self.file),
                "evaluate_set": file_sha256(task.set_path),
                MASKS: file_sha256(masks) if with_masks and masks.is_file() else None,
            }
            | ({IDS: file_sha256(ids)} if by_ids else {})
            | dict(mask_images),
        }


def prediction_files(path: Path, splits: Sequence[str]) -> list[Path]:
    """The files of predictions: one for all splits, or else `<stem>_<split>` for each of them.

    Raises:
        UserError: neither exists, or one is not a file.
    """
    if len(splits) == 1 or path.exists():
        check_file(path)
        return [path]
    files = [path.with_stem(f"{path.stem}_{split}") for split in splits]
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise UserError(
            f"{path}: no such file, and neither is {', '.join(missing)}; name a file with the "
            "predictions for all splits, or one of which each split has its own"
        )
    for file in files:
        check_file(file)
    return files


def read_predictions(
    files: Sequence[Path], sets: Sequence[Sequence[Referent]], folder: Path
) -> list[SetPredictions]:
    """Reads files of predictions and finds the expressions of sets that they are for.

    Args:
        files: as `prediction_files` returns them.
        sets: the referents of each split.
        folder: that of the annotation files.

    Raises:
        UserError, OSError: a file or the ids of the sets cannot be used, see
            `utils.evaluation.scoring.rows.read_rows` and `utils.evaluation.scoring.matching.match`;
            or a file holds neither boxes nor masks.
    """
    if len(files) == 1:
        tasks, matches = _match(files[0], sets, folder)
        return [SetPredictions(files[0], tasks, matches, number) for number in range(len(sets))]
    return [
        SetPredictions(file, *_match(file, [referents], folder), 0)
        for file, referents in zip(files, sets, strict=True)
    ]


def _match(
    file: Path, sets: Sequence[Sequence[Referent]], folder: Path
) -> tuple[tuple[str, ...], Matches]:
    """The tasks of a file's rows, and the rows matched with sets whose lines are in `folder`."""
    rows = read_rows(file)
    needs_ids = any(row.needs_ids for row in rows)
    return _tasks_of(file, rows), match(rows, sets, read_ids(folder) if needs_ids else None)


def _tasks_of(path: Path, rows: Sequence[Row]) -> tuple[str, ...]:
    """The tasks that rows hold predictions for."""
    holds = {
        "REC": any(row.box_xyxy_px is not None for row in rows),
        "RES": any(row.mask is not None for row in rows),
    }
    tasks = tuple(task for task, is_held in holds.items() if is_held)
    if not tasks:
        raise UserError(
            f"{path}: holds neither boxes nor masks; add 'box_xyxy' or 'bbox', 'mask', or both"
        )
    return tasks
