"""The body of `test.py --predictions`: scores predictions on sets and writes the results."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.command_line import counted
from config.errors import UserError
from config.run_files.missing import missing_files, refuse_missing
from config.schema import Config
from data.loading.annotations import Referent, read_annotations
from data.loading.errors import skipped_text
from data.loading.masks import FILE_NAME as MASKS
from data.loading.masks import open_masks
from data.preparation.manifest import FILE_NAME as MANIFEST
from data.preparation.manifest import check_pairing, unchanged
from data.preparation.sidecars.ids import FILE_NAME as IDS
from data.preparation.wording import plural
from utils.environment import package_versions
from utils.evaluation.breakdown.categories import category_names
from utils.evaluation.breakdown.figures import figures, format_breakdown
from utils.evaluation.metrics import Metrics, Result, format_table
from utils.evaluation.result_folder import PICTURES, TEXT, ResultFolder
from utils.evaluation.results.measurement import Measurement, dump_lines
from utils.evaluation.results.pictures import Painter, set_name, sheet_and_page
from utils.evaluation.results.tasks import SplitTasks
from utils.evaluation.results.writing import (
    Task,
    check_dump,
    files_of,
    result_text,
    write_results,
)
from utils.evaluation.scoring.doubts import box_doubts
from utils.evaluation.scoring.mask_images import MaskImages
from utils.evaluation.scoring.reading import SetPredictions, prediction_files, read_predictions
from utils.evaluation.scoring.rows import Row
from utils.evaluation.scoring.scorer import Scorer
from utils.visualization.gallery import INDEX
from utils.visualization.png import png_bytes

# The settings that the scores of predictions depend on, and those of images and masks.
RECORDED_SETTINGS = ("evaluate_set", "det_acc_thresh", "on_bad_sample")


def report_predictions(
    config: Config,
    predictions: str | os.PathLike,
    splits: Sequence[str],
    output: Path,
    name: str | None = None,
    *,
    dump: str | None = None,
    dump_masks: bool = False,
    pictures: int = 0,
    overwrite: bool = False,
    breakdown: bool = False,
) -> list[Result]:
    """Scores predictions on splits of the data set of config.evaluate_set.

    Prints and writes the results of each split and, if there are several, one table. Boxes are
    scored if a row has one, masks likewise; what is not scored has no metrics.

    Args:
        config: the settings; those of a network do not matter, except input_size for a dump.
        predictions: file of predictions, see `utils.evaluation.scoring.rows`. With several splits,
            `<stem>_<split>` beside it for each of them if it does not exist itself.
        splits, output, dump, dump_masks, pictures, overwrite, breakdown: as those of
            `utils.evaluation.splits.report_splits`.
        name: folder of the result, as there; by default it begins with the data set and the name of
            the file.

    Returns:
        The result of each split.

    Raises:
        DataError, UserError, OSError: predictions or data cannot be used, a file cannot be
            written, or it exists and must not be replaced.
    """
    if dump_masks and dump is None:
        raise UserError("--dump_masks adds masks to the lines of --dump; name its file with --dump")
    path = Path(predictions)
    base = f"{Path(config.evaluate_set).parent.name}_{path.stem}"
    chosen = SplitTasks(config.evaluate_set, splits, output, name, dump, base)
    chosen.check_table(path, config.det_acc_thresh)
    _check_files(config, chosen.tasks, ["evaluate_set"])
    files = prediction_files(path, chosen.splits)
    set_paths, mask_folder = [task.set_path for task in chosen.tasks], Path(config.seg_gt_path)
    folders = (Path(set_paths[0]).parent, mask_folder)
    ids = folders[0] / IDS
    with unchanged(*files, *set_paths, ids, mask_folder / MASKS, *(f / MANIFEST for f in folders)):
        sets = [read_annotations(path) for path in set_paths]
        found = read_predictions(files, sets, ids.parent)
        scored = [
            _Scored(config, task, matched, referents)
            for task, matched, referents in zip(chosen.tasks, found, sets, strict=True)
        ]
    for one in scored:
        check_dump(one.task, overwrite)
        ResultFolder(one.task.folder, one.source).check(files_of(one.task, pictures), overwrite)
    warnings = [text for matched in found for text in matched.matches.warnings()]
    warnings += [text for one in scored for text in one.warnings]
    for warning in dict.fromkeys(warnings):
        print(f"warning: {warning}", file=sys.stderr)
    results = [one.report(pictures, overwrite, breakdown, dump_masks) for one in scored]
    chosen.report(results, path, config.det_acc_thresh)
    return results


def _check_files(config: Config, tasks: Sequence[Task], keys: Sequence[str]) -> None:
    """Raises `UserError` that lists the files of config keys that do not exist."""
    refuse_missing(
        file
        for task in tasks
        for file in missing_files(config.replace(evaluate_set=task.set_path), keys)
        if file.key in keys  # Word vectors are not needed.
    )


class _Scored:
    """The predictions for one set, what their results follow from, and warnings about them."""

    def __init__(
        self,
        config: Config,
        task: Task,
        matched: SetPredictions,
        referents: Sequence[Referent],
    ) -> None:
        self.config, self.task, self.tasks = config, task, matched.tasks
        rows, tasks = matched.rows, matched.tasks
        in_input = any(row is not None and row.box_xyxy_input is not None for row in rows)
        with_masks = "RES" in tasks
        needed = [*(["image_path"] if in_input or with_masks else []),
                  *(["seg_gt_path"] if with_masks else [])]  # fmt: skip
        _check_files(config, [task], needed)
        if with_masks:
            check_pairing(task.set_path, config.seg_gt_path)
        masks = open_masks(config.seg_gt_path) if with_masks else None
        self._scorer = Scorer(
            referents,
            rows,
            tasks,
            config.image_path,
            masks,
            config.input_size,
            config.on_bad_sample,
        )
        counts = _incomplete(rows, tasks)
        self._counts = matched.to_json() | counts
        doubts = box_doubts(rows, referents, self._scorer.image_size)
        self.warnings = [f"{task.set_path}: {text}" for text in (*_warnings(rows, counts), *doubts)]
        keys = (*RECORDED_SETTINGS, *needed, *(["input_size"] if in_input else []))
        self._mask_images = MaskImages(rows)
        self.source = matched.source(config, task, keys, self._mask_images.sha256, with_masks)

    def report(self, pictures: int, overwrite: bool, breakdown: bool, dump_masks: bool) -> Result:
        """Scores the predictions, prints the result and writes it."""
        thresh, task = self.config.det_acc_thresh, self.task
        self._scorer.encode_masks = dump_masks and task.dump is not None
        measured = self._scorer.measure(self.config.workers, f"score {Path(task.set_path).stem}")
        self._mask_images.check_unchanged()
        result = _result(measured, thresh, self.tasks)
        table = format_table(result, task.set_path, thresh)
        print(table)  # Before files are written, which may fail.
        skipped = self._skipped()
        for warning in self._scorer.warnings():
            print(f"warning: {warning}", file=sys.stderr)
        categories = category_names(task.set_path)
        parts = figures(measured, thresh, self.tasks, categories)
        details = {
            **result,
            **parts,
            "predictions": self._counts,
            "skipped": skipped,
            **self.source,
            "versions": package_versions(),
        }
        if breakdown:
            print(f"\n{(groups := format_breakdown(details, thresh))}")
            table += f"\n\n{groups}"
        files: dict[str, bytes | memoryview] = {TEXT: result_text(table, self.source["settings"])}
        if pictures:
            name, painter = set_name(task.set_path), Painter(self.config.image_path, thresh)
            sheet, page = sheet_and_page(
                measured, pictures, name, painter, self._scorer.measure_some
            )
            files |= {PICTURES: png_bytes(sheet), INDEX: page}
        dumped = dump_lines(measured) if task.dump is not None else b""
        write_results(task, self.source, details, files, dumped, overwrite)
        return result

    def _skipped(self) -> list[dict[str, Any]]:
        """The images that were left out; printed, too."""
        cases, bad = self._scorer.cases(), self._scorer.bad_images
        skipped = [
            {"image": image, "expressions": len(cases[image]), "reason": reason}
            for image, reason in sorted(bad.items())
        ]
        if skipped:
            count = sum(len(cases[image]) for image in bad)
            what = f"{plural(len(bad), 'image')} with {plural(count, 'expression')}"
            print(skipped_text(what, bad.values()), file=sys.stderr)
        return skipped


def _incomplete(rows: Sequence[Row | None], tasks: Sequence[str]) -> dict[str, int]:
    """How many rows lack a box or mask although others have one, or have an inverted box."""
    given = [row for row in rows if row is not None]
    inverted = sum(row.box_fault is not None for row in given)
    boxes = sum(row.box_xyxy_px is None for row in given) - inverted if "REC" in tasks else 0
    masks = sum(row.mask is None for row in given) if "RES" in tasks else 0
    return {"without_box": boxes, "without_mask": masks, "inverted_boxes": inverted}


def _warnings(rows: Sequence[Row | None], counts: Mapping[str, int]) -> list[str]:
    """Sentences about the counts of `_incomplete`, for people."""
    texts = [
        f"{plural(counts[key], 'prediction')} without a {what}, which counts as wrong"
        for key, what in (("without_box", "box"), ("without_mask", "mask"))
        if counts[key]
    ]
    if counts["inverted_boxes"]:
        places = [row.where for row in rows if row is not None and row.box_fault is not None]
        texts.append(f"boxes that end before they begin, which count as wrong: {counted(places)}")
    return texts


def _result(measured: Sequence[Measurement], det_thresh: float, tasks: Sequence[str]) -> Result:
    metrics = Metrics(det_thresh, tasks)
    names = ("det_iou", "seg_iou", "intersection", "union")
    metrics.update(*(np.array([getattr(case, name) for case in measured]) for name in names))
    return metrics.result()
