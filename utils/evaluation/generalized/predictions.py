"""The body of test.py --predictions on sets with expressions that have no target."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError
from config.schema import Config
from data.loading.masks import FILE_NAME as MASKS
from data.preparation.manifest import unchanged
from data.preparation.sidecars.ids import FILE_NAME as IDS
from data.preparation.sidecars.no_target import FILE_NAME as NO_TARGET
from utils.environment import package_versions
from utils.evaluation.generalized.results import GeneralizedResults, check_calibration
from utils.evaluation.generalized.targets import GeneralizedSet, open_generalized, samples_of
from utils.evaluation.results.measurement import Measurement
from utils.evaluation.results.tasks import SplitTasks
from utils.evaluation.scoring.mask_images import MaskImages
from utils.evaluation.scoring.reading import (
    SetPredictions,
    prediction_files,
    read_predictions,
)
from utils.evaluation.scoring.rows import Row
from utils.evaluation.scoring.scorer import Scorer

# The settings that the scores of predictions depend on.
RECORDED_SETTINGS = ("image_path", "seg_gt_path", "on_bad_sample")


def report_generalized_predictions(
    config: Config,
    predictions: str | os.PathLike,
    splits: Sequence[str],
    output: Path,
    name: str | None = None,
    *,
    min_score: float | None = None,
    calibrate: bool = False,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Scores the masks of predictions on splits of the data set of config.evaluate_set.

    A row without a mask, or with an empty one, predicts no target, and so does one whose score is
    below `min_score`. An expression without a row counts as wrong whatever the threshold.

    Args:
        config: the settings; those of a network do not matter.
        predictions, splits, output, name, overwrite: as those of
            `utils.evaluation.scoring.report.report_predictions`.
        min_score, calibrate: as those of `utils.evaluation.generalized.network.report_generalized`.

    Returns:
        The measures of each split.

    Raises:
        DataError, UserError, OSError: predictions or data cannot be used, masks have no score
            although there is a threshold, a file cannot be written, or it exists and must not be
            replaced.
    """
    path = Path(predictions)
    base = f"{Path(config.evaluate_set).parent.name}_{path.stem}"
    chosen = SplitTasks(config.evaluate_set, splits, output, name, base=base)
    check_calibration(chosen.splits, calibrate, min_score)
    files = prediction_files(path, chosen.splits)
    folder = Path(config.evaluate_set).parent
    beside = (folder / IDS, folder / NO_TARGET, Path(config.seg_gt_path) / MASKS)
    with unchanged(*files, *(task.set_path for task in chosen.tasks), *beside):
        sets = [open_generalized(task.set_path, config.seg_gt_path) for task in chosen.tasks]
        found = read_predictions(files, [one.referents for one in sets], folder)
        images = [MaskImages(of_set.rows) for of_set in found]
        sources = [
            of_set.source(config, task, RECORDED_SETTINGS, some.sha256, with_masks=True)
            for of_set, task, some in zip(found, chosen.tasks, images, strict=True)
        ]
        results = GeneralizedResults(chosen, sources, min_score, calibrate, overwrite)
    for of_set in found:
        _check_masks(of_set, calibrate or min_score is not None)
    warnings = [text for of_set in found for text in of_set.matches.warnings()]
    for warning in dict.fromkeys(warnings):
        print(f"warning: {warning}", file=sys.stderr)
    samples, more = [], []
    for one, task, of_set, some in zip(sets, chosen.tasks, found, images, strict=True):
        scorer = Scorer(
            one.referents,
            of_set.rows,
            ("RES",),
            config.image_path,
            one.masks,
            config.input_size,
            config.on_bad_sample,
        )
        measured = scorer.measure(config.workers, f"score {Path(task.set_path).stem}")
        some.check_unchanged()
        for warning in scorer.warnings():
            print(f"warning: {warning}", file=sys.stderr)
        samples.append(samples_of(measured, one.empty, _found(measured, of_set.rows, one)))
        skipped = [{"image": image, "reason": why} for image, why in scorer.bad_images.items()]
        details = {"predictions": of_set.to_json(), "skipped": skipped}
        more.append(details | {"versions": package_versions()})
    return results.write(samples, more)


def _check_masks(of_set: SetPredictions, with_threshold: bool) -> None:
    """Raises `UserError` if there is no mask, or one without the score that a threshold needs."""
    if "RES" not in of_set.tasks:
        raise UserError(
            f"{of_set.file}: holds no mask; the measures of sets with expressions that have no "
            "target are those of masks: add 'mask', which is [] where there is no target"
        )
    rows = [row for row in of_set.rows if row is not None and row.mask not in (None, [])]
    unscored = next((row for row in rows if row.score is None), None)
    if with_threshold and unscored is not None:
        raise UserError(
            f"{unscored.where}: key 'score' is missing, but --min_score and --calibrate need one "
            'beside each mask; add it, or write "mask": [] where there is no target'
        )


def _found(
    measured: Sequence[Measurement], rows: Sequence[Row | None], of_set: GeneralizedSet
) -> np.ndarray:
    """(n,) bool, whether a target is predicted for each expression.

    Without a row, one is predicted where there is none, and none where there is one. Both are
    wrong whatever the threshold, since there is no score.
    """
    found = []
    for case in measured:
        if rows[case.index] is None:
            found.append(case.mask_id in of_set.empty)
        else:  # The pixels of the predicted mask.
            found.append(case.union - (case.true_px or 0) + case.intersection > 0)
    return np.array(found, bool)
