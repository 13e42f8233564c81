"""The results of an evaluation with expressions that have no target: measures and their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import file_sha256
from data.preparation.sidecars.no_target import FILE_NAME
from utils.evaluation.generalized.metrics import (
    Samples,
    best_min_score,
    format_generalized,
    generalized_intervals,
    generalized_metrics,
    threshold_text,
)
from utils.evaluation.result_folder import TEXT, ResultFolder
from utils.evaluation.results.tasks import SplitTasks
from utils.evaluation.results.writing import Task, files_of, result_text, write_results

CALIBRATION_SPLIT = "val"


class GeneralizedResults:
    """The folders of the results of splits.

    Args:
        chosen: the splits.
        sources: what the result of each follows from, see
            `utils.evaluation.result_folder.ResultFolder`. The threshold is added and, if it is
            chosen on the split val, what this split follows from.
        min_score: smallest score with which a target is predicted, or None.
        calibrate: whether it is chosen on the split val instead.
        overwrite: whether to replace results of other weights, settings or data.

    Raises:
        UserError: results are there that must not be replaced.
    """

    def __init__(
        self,
        chosen: SplitTasks,
        sources: Sequence[dict[str, Any]],
        min_score: float | None,
        calibrate: bool,
        overwrite: bool,
    ) -> None:
        self._chosen, self._sources, self._overwrite = chosen, sources, overwrite
        self._min_score, self._calibrate = min_score, calibrate
        threshold = f"calibrated on {CALIBRATION_SPLIT}" if calibrate else min_score
        for task, source in zip(chosen.tasks, sources, strict=True):
            without_target = file_sha256(Path(task.set_path).with_name(FILE_NAME))
            source["settings"] = source["settings"] | {"min_score": threshold}
            source["data_sha256"] = source["data_sha256"] | {FILE_NAME: without_target}
        if calibrate:
            of_val = sources[chosen.splits.index(CALIBRATION_SPLIT)]["data_sha256"]
            digests = {f"{key} of {CALIBRATION_SPLIT}": value for key, value in of_val.items()}
            for source in sources:
                source["data_sha256"] = source["data_sha256"] | digests
        for task, source in zip(chosen.tasks, sources, strict=True):
            ResultFolder(task.folder, source).check(files_of(task, 0), overwrite)

    def write(
        self, samples: Sequence[Samples], more: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Chooses the threshold if requested, and prints and writes the results of all splits.

        Args:
            samples: the predictions for each split.
            more: what else result.json says about each.

        Returns:
            The measures of each split.
        """
        chosen, min_score = self._chosen, self._min_score
        if self._calibrate:
            min_score = best_min_score(samples[chosen.splits.index(CALIBRATION_SPLIT)])
            print(f"{threshold_text(min_score)}: has the highest gIoU on {CALIBRATION_SPLIT}")
        results = [
            self._write_one(task, source, of_set, details, min_score)
            for task, source, of_set, details in zip(
                chosen.tasks, self._sources, samples, more, strict=True
            )
        ]
        print(f"Results are in {', '.join(f'{task.folder}/' for task in chosen.tasks)}")
        return results

    def _write_one(
        self,
        task: Task,
        source: dict[str, Any],
        samples: Samples,
        more: Mapping[str, Any],
        min_score: float | None,
    ) -> dict[str, Any]:
        result = generalized_metrics(samples, min_score)
        table = format_generalized(result, task.set_path, min_score)
        print(table)  # Before files are written, which may fail.
        intervals = generalized_intervals(samples, min_score)
        details = {**result, "min_score": min_score, **intervals, **more, **source}
        files: dict[str, bytes | memoryview] = {TEXT: result_text(table, source["settings"])}
        write_results(task, source, details, files, b"", self._overwrite)
        return result


def check_calibration(splits: Sequence[str], calibrate: bool, min_score: float | None) -> None:
    """Raises `UserError` if a threshold is given beside a calibration, or its split is missing."""
    if calibrate and min_score is not None:
        raise UserError("--calibrate chooses --min_score; leave one of them out")
    if calibrate and CALIBRATION_SPLIT not in splits:
        raise UserError(
            f"--calibrate chooses min_score on the split {CALIBRATION_SPLIT}; add it to --splits"
        )
