"""The body of test.py for a network on sets with expressions that have no target."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from config.run_files.missing import EVALUATION, missing_files, refuse_missing
from config.schema import Config
from utils.environment import versions
from utils.evaluation.evaluator import evaluator_of
from utils.evaluation.generalized.results import GeneralizedResults, check_calibration
from utils.evaluation.generalized.targets import open_generalized, samples_of
from utils.evaluation.report import check_sources, sources_of
from utils.evaluation.results.measurement import Measurement
from utils.evaluation.results.tasks import SplitTasks
from utils.prediction.expressions import build_words, words_contents
from utils.prediction.grounder import load_grounder
from utils.prediction.run_folder import check_weights_exist


def report_generalized(
    config: Config,
    weights: str,
    splits: Sequence[str],
    output: Path,
    name: str | None = None,
    *,
    min_score: float | None = None,
    calibrate: bool = False,
    overwrite: bool = False,
    check_loaded: Callable[[], object] | None = None,
) -> list[dict[str, Any]]:
    """Evaluates weights on splits of the data set of config.evaluate_set.

    Prints and writes the measures of each split. A prediction whose score is below `min_score` is
    that of no target.

    Args:
        config: the settings.
        weights: the weight file.
        splits, output, name, overwrite, check_loaded: as those of
            `utils.evaluation.splits.report_splits`.
        min_score: smallest score with which a target is predicted; None for no threshold.
        calibrate: whether to choose `min_score` on the split val instead, for the highest gIoU.

    Returns:
        The measures of each split, see `utils.evaluation.generalized.metrics.generalized_metrics`.

    Raises:
        As `utils.evaluation.report.report`; also if val is not among the splits to calibrate on, or
        a threshold is given beside.
    """
    chosen = SplitTasks(config.evaluate_set, splits, output, name)
    check_calibration(chosen.splits, calibrate, min_score)
    config = config.replace(evaluate_model=str(weights))
    check_weights_exist(config.evaluate_model)
    configs = [config.replace(evaluate_set=task.set_path) for task in chosen.tasks]
    refuse_missing(file for one in configs for file in missing_files(one, EVALUATION))
    sources = sources_of(config, chosen.tasks)
    sets = [open_generalized(task.set_path, config.seg_gt_path) for task in chosen.tasks]
    words = [
        build_words(config, one.referents, cache_dir=Path(task.set_path).parent)
        for one, task in zip(sets, chosen.tasks, strict=True)
    ]
    for source, of_set in zip(sources, words, strict=True):
        source["data_sha256"] |= words_contents(config, of_set)
    results = GeneralizedResults(chosen, sources, min_score, calibrate, overwrite)
    grounder = load_grounder(config)
    check_sources(config, chosen.tasks, sources)
    if check_loaded is not None:
        check_loaded()
    print(grounder.weights_report)
    samples, more = [], []
    for one, task, of_set in zip(sets, chosen.tasks, words, strict=True):
        evaluator = evaluator_of(config, one.referents, of_set, one.masks)
        measured: list[Measurement] = []
        label = f"evaluate {Path(task.set_path).stem}"
        evaluator.collect(grounder, config.word_len, label, measured.append)
        evaluator.check_any_usable()
        samples.append(samples_of(measured, one.empty, [True] * len(measured)))
        more.append({"skipped": evaluator.skipped(), "versions": versions()})
    return results.write(samples, more)
