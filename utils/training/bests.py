"""Which weights are saved as the best after an epoch, and by which score."""

from collections.abc import Mapping
from contextlib import nullcontext

from config.run_folder import BEST_EMA, BEST_SEG, BEST_WEIGHTS
from utils.evaluation.metrics import Result
from utils.training.optimizer import averaged_weights
from utils.training.run.checkpoints import Checkpoints
from utils.training.run.state import Best, RunState


def save_bests(
    checkpoints: Checkpoints,
    state: RunState,
    results: Mapping[str, Result],
    averages: Mapping[str, Result],
    *,
    best_seg: bool,
    best_of: str,
) -> dict[str, Best]:
    """Saves the weights of a trained epoch in the file of each score that they improve.

    Call it in every process.

    Args:
        checkpoints: saves them.
        state: with the best scores so far, before the epoch is added.
        results: of the evaluation on each set, the first one first.
        averages: those of the averages of the weights, if there are any.
        best_seg: whether the mean IoU of the masks counts, too.
        best_of: config key, "first" or "mean": which of the sets count.

    Returns:
        The improved ones, by the name of their file.
    """

    def score(of_sets: Mapping[str, Result], metric: str) -> float:
        values = [result[metric] for result in of_sets.values()]
        return values[0] if best_of == "first" else sum(values) / len(values)

    scores = {BEST_WEIGHTS: score(results, "det_acc")}
    if best_seg:
        scores[BEST_SEG] = score(results, "seg_iou")
    if averages:
        scores[BEST_EMA] = score(averages, "det_acc")
    improved = {}
    for file, value in scores.items():
        if not state.is_improved_by(value, file):
            continue
        variables, optimizer = checkpoints.model.trainable_variables, checkpoints.optimizer
        averaged = file == BEST_EMA
        with averaged_weights(variables, optimizer) if averaged else nullcontext():
            checksum = checkpoints.save_best(file)
        improved[file] = Best(float(value), state.epoch + 1, checksum)
    return improved
