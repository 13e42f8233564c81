"""Evaluates weights on one or several sets with one network and writes the results."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import file_sha256
from config.run_files.missing import EVALUATION, missing_files, refuse_missing
from config.schema import Config
from data.loading.anchors import read_anchors
from data.loading.errors import skipped_text
from data.loading.masks import FILE_NAME as MASKS
from data.preparation.wording import plural
from utils.environment import (
    device_line,
    parameters_line,
    settings_line,
    shown_path,
    versions,
)
from utils.evaluation.breakdown.categories import category_names
from utils.evaluation.breakdown.figures import figures, format_breakdown
from utils.evaluation.evaluator import Evaluator, build_evaluator
from utils.evaluation.metrics import Result, format_table
from utils.evaluation.network_pictures import draw_pictures
from utils.evaluation.result_folder import ANCHORS, PICTURES, TEXT, ResultFolder, changes
from utils.evaluation.results.measurement import Measurement, dump_lines, in_order
from utils.evaluation.results.pictures import set_name
from utils.evaluation.results.writing import Task, check_dump, files_of, result_text, write_results
from utils.prediction.expressions import words_contents, words_text
from utils.prediction.grounder import Grounder, load_grounder
from utils.prediction.run_folder import check_weights_exist
from utils.visualization.gallery import INDEX
from utils.visualization.png import png_bytes

# The settings that scores depend on; they are written beside them.
RECORDED_SETTINGS = (
    "evaluate_model", "evaluate_set", "seg_gt_path", "image_path", "anchors_file", "backbone",
    "text_encoder", "rnn_cell", "aspp_dilations", "input_size", "word_len", "word_embed",
    "det_acc_thresh", "segment_thresh", "use_nls", "precision", "engine", "on_bad_sample",
)  # fmt: skip


def report(
    config: Config,
    folder: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    dump: str | os.PathLike | None = None,
    pictures: int = 0,
    overwrite: bool = False,
    dump_masks: bool = False,
    breakdown: bool = False,
) -> str:
    """Evaluates weights on config.evaluate_set, prints the results and writes them.

    Args:
        config: the settings.
        folder: where result.txt and result.json are written.
        weights: weight file; config.evaluate_model if None.
        dump: file for one JSON line per expression, in the order of the set; None for no file.
        pictures: number of best, median and worst predictions to draw in pictures.png, of at most
            24 each, and on the page index.html.
        overwrite: whether to replace results of other weights, settings or data, and an earlier
            dump.
        dump_masks: whether the lines of the dump contain the predicted masks.
        breakdown: whether to print and write the table of
            `utils.evaluation.breakdown.figures.format_breakdown`, too.

    Returns:
        The table of the results.

    Raises:
        WeightsError, DataError, UserError, OSError: the weights or the data cannot be used, a file
            cannot be written, or it exists and must not be replaced.
    """
    task = Task(config.evaluate_set, Path(folder), None if dump is None else Path(dump))
    (result,) = report_tasks(
        config, [task], weights, pictures, overwrite, dump_masks=dump_masks, breakdown=breakdown
    )
    return _table(config, task, result)


def report_tasks(
    config: Config,
    tasks: Sequence[Task],
    weights: str | os.PathLike | None = None,
    pictures: int = 0,
    overwrite: bool = False,
    check_loaded: Callable[[], object] | None = None,
    dump_masks: bool = False,
    breakdown: bool = False,
) -> list[Result]:
    """Evaluates weights on several sets with one network, prints the results and writes them.

    Args:
        config: the settings; those of all sets, except evaluate_set.
        tasks: the sets.
        weights, pictures, overwrite, dump_masks, breakdown: as those of `report`.
        check_loaded: called once the weights are loaded; raises an error if they are not those of
            the config.

    Returns:
        The result of each task, see `utils.evaluation.metrics.Metrics.result`.

    Raises:
        As `report`; files that are missing or must not be replaced are noticed before the first
            evaluation.
    """
    if weights is not None:
        config = config.replace(evaluate_model=str(weights))
    check_weights_exist(config.evaluate_model)
    refuse_missing(m for task in tasks for m in missing_files(_of(config, task), EVALUATION))
    sources = sources_of(config, tasks)
    for task, source in zip(tasks, sources, strict=True):
        check_dump(task, overwrite)
        ResultFolder(task.folder, source).check(files_of(task, pictures), overwrite)
    print(device_line())
    evaluators = [build_evaluator(_of(config, task)) for task in tasks]
    for task, source, evaluator in zip(tasks, sources, evaluators, strict=True):
        evaluator.encode_masks = dump_masks
        source["data_sha256"] |= words_contents(config, evaluator.words)
        # Now with the words.
        ResultFolder(task.folder, source).check(files_of(task, pictures), overwrite)
        expressions = plural(evaluator.n_expressions, "expression")
        counts = f"{expressions} in {plural(len(evaluator.groups), 'image')}"
        print(f"data: {counts}{words_text(evaluator.words)}")
    grounder = load_grounder(config)
    check_sources(config, tasks, sources)
    if check_loaded is not None:
        check_loaded()
    print(grounder.weights_report)
    print(parameters_line(grounder.model))
    print(settings_line(config, {*RECORDED_SETTINGS} - {"evaluate_set"}))
    print(f"output: {', '.join(f'{shown_path(task.folder)}/' for task in tasks)}")
    return [
        _evaluate(config, task, evaluator, grounder, source, pictures, overwrite, breakdown)
        for task, evaluator, source in zip(tasks, evaluators, sources, strict=True)
    ]


def _of(config: Config, task: Task) -> Config:
    return config.replace(evaluate_set=task.set_path)


def _table(config: Config, task: Task, result: Result) -> str:
    return format_table(result, task.set_path, config.det_acc_thresh)


def _evaluate(
    config: Config,
    task: Task,
    evaluator: Evaluator,
    grounder: Grounder,
    source: dict[str, Any],
    pictures: int,
    overwrite: bool,
    breakdown: bool,
) -> Result:
    """Evaluates on one set and writes its results."""
    measurements: list[Measurement] = []
    label = f"evaluate {Path(task.set_path).stem}"
    result = evaluator.evaluate(grounder, config.word_len, label, on_measured=measurements.append)
    measurements = in_order(measurements)
    table = _table(config, task, result)
    print(table)  # Before files are written, which may fail.
    skipped = evaluator.skipped()
    if skipped:
        count = sum(image["expressions"] for image in skipped)
        what = f"{plural(len(skipped), 'image')} with {plural(count, 'expression')}"
        print(skipped_text(what, [image["reason"] for image in skipped]), file=sys.stderr)

    categories = category_names(task.set_path)
    parts = figures(measurements, config.det_acc_thresh, categories=categories)
    details = {**result, **parts, "skipped": skipped, **source, "versions": versions()}
    if breakdown:
        print(f"\n{(groups := format_breakdown(details, config.det_acc_thresh))}")
        table += f"\n\n{groups}"
    files: dict[str, bytes | memoryview] = {TEXT: result_text(table, source["settings"])}
    dumped = dump_lines(measurements) if task.dump is not None else b""
    if pictures:
        name = set_name(task.set_path)
        sheet, page = draw_pictures(
            evaluator, grounder, config.word_len, measurements, pictures, name
        )
        files |= {PICTURES: png_bytes(sheet), INDEX: page}
    write_results(task, source, details, files, dumped, overwrite)
    return result


def sources_of(config: Config, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """What results come from: the settings that scores depend on, and hashes of the files."""
    anchors, sha256 = read_anchors(config.anchors_file), file_sha256(config.evaluate_model)
    masks = Path(config.seg_gt_path) / MASKS
    return [
        {
            "settings": {key: getattr(_of(config, task), key) for key in RECORDED_SETTINGS}
            | {ANCHORS: anchors.tolist()},
            "weights_sha256": sha256,
            "data_sha256": {
                "evaluate_set": file_sha256(task.set_path),
                MASKS: file_sha256(masks) if masks.is_file() else None,
            },
        }
        for task in tasks
    ]


def check_sources(
    config: Config, tasks: Sequence[Task], sources: Sequence[Mapping[str, Any]]
) -> None:
    """Raises `UserError` if files were replaced since `sources_of`, and others were loaded."""
    for task, then, now in zip(tasks, sources, sources_of(config, tasks), strict=True):
        changed = changes(then, now)
        if changed:
            raise UserError(
                f"{task.set_path} and {config.evaluate_model}: {', '.join(changed)} changed while "
                "they were loaded; run the same command again"
            )
