"""Which weights are saved as the best after an epoch, and by which score."""

from collections.abc import Mapping
from contextlib import nullcontext

from config.run_folder import BEST_EMA, BEST_SEG, BEST_WEIGHTS
from utils.evaluation.metrics import Result
from utils.training.optimizer import averaged_weights
from utils.training.run.checkpoints import Checkpoints
from utils.training.run.state import Best, RunState


def save_bests(
    checkpoints: Checkpoints, state: RunState, results: Mapping[str, Result], *, best_seg: bool
) -> dict[str, Best]:
    """Saves the weights of a trained epoch in the file of each score that they improve.

    Call it in every process.

    Args:
        checkpoints: saves them.
        state: with the best scores so far, before the epoch is added.
        results: of the evaluation, by "val" for the weights and "val_ema" for their averages.
        best_seg: whether the mean IoU of the masks counts, too.

    Returns:
        The improved ones, by the name of their file.
    """
    scores = {BEST_WEIGHTS: results["val"]["det_acc"]}
    if best_seg:
        scores[BEST_SEG] = results["val"]["seg_iou"]
    if "val_ema" in results:
        scores[BEST_EMA] = results["val_ema"]["det_acc"]
    improved = {}
    for file, score in scores.items():
        if not state.is_improved_by(score, file):
            continue
        variables, optimizer = checkpoints.model.trainable_variables, checkpoints.optimizer
        averaged = file == BEST_EMA
        with averaged_weights(variables, optimizer) if averaged else nullcontext():
            checksum = checkpoints.save_best(file)
        improved[file] = Best(float(score), state.epoch + 1, checksum)
    return improved
