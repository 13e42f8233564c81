"""The state that a run resumes from, and whether its best weights still count."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from config.command_line import say
from config.run_folder import BEST_SEG
from config.schema import Config
from utils.training.distributed.cluster import ClusterError
from utils.training.distributed.processes import Processes
from utils.training.run.checkpoints import Checkpoints
from utils.training.run.folder import check_changes
from utils.training.run.kept_weights import keep_weights, kept_weights
from utils.training.run.log import write_epochs
from utils.training.run.settings import READ_BY_NETWORK, first_step, score_changes
from utils.training.run.state import Best, RunState


def resumed_state(
    checkpoints: Checkpoints,
    settings: Mapping[str, Any],
    samples: int,
    steps_per_epoch: int,
    *,
    force: bool = False,
) -> RunState | None:
    """Restores a run and adapts its state to the settings that it is resumed with.

    Prints what has changed in the settings, where the run resumes, and why if its best accuracy is
    forgotten: its weights are lost, or other settings have measured it. The next weights are then
    saved as the best. A run whose epochs are complete is returned as it is.

    Args:
        checkpoints: restores network and optimizer.
        settings: of `utils.training.run.settings.run_settings`.
        samples: samples per epoch.
        steps_per_epoch: steps per epoch, of the current batch size.
        force: whether to resume whatever has changed in the settings.

    Returns:
        The state to continue from; None if there is none.

    Raises:
        CheckpointError: as `Checkpoints.restore`.
        RunFolderError: as `utils.training.run.folder.check_changes`.
        NoSpaceError, OSError: the best weights of other settings cannot be moved.
    """
    state = checkpoints.restore()
    if state is None:
        return None
    for change in check_changes(checkpoints.folder, state, settings, force=force):
        if checkpoints.writer:
            say(f"setting changed: {change}")
    if state.epoch >= settings["epoches"]:
        return state
    step = state.step and first_step(state.settings, settings, state.step, samples)
    step = min(step, steps_per_epoch)
    if checkpoints.writer:
        where = f"after epoch {state.epoch}"
        if step:
            where = f"in epoch {state.epoch + 1} at step {step:,} of {steps_per_epoch:,}"
        say(f"{checkpoints.last_path}: resuming {where}")
        state = _with_best_checked(state, checkpoints, settings)
    # With another batch size, the position is another number of steps, and TensorBoard's continue.
    before = state.steps_before + state.step - step
    return replace(state, step=step, steps_before=before, settings=dict(settings))


def check_same_start(processes: Processes, checkpoints: Checkpoints, state: RunState) -> None:
    """Checks that all processes of a run start from the same weights, at the same step.

    Raises:
        ClusterError: one of them does not, in every process.
    """
    if processes.count == 1:
        return
    digest = hashlib.sha256()
    for variable in checkpoints.variables():
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    starts = processes.gather([state.epoch, state.step, digest.hexdigest()])
    for index, start in enumerate(starts):
        if start != starts[0]:
            epoch, step, _ = start
            where = "with other weights than process 0"
            if start[:2] != starts[0][:2]:
                where = f"at step {step} of epoch {epoch + 1}, unlike process 0"
            raise ClusterError(
                f"process {index} would start {where}: log_path must be on a disk that all "
                "machines share, and pretrained_weights must be the same file on all of them"
            )


def _with_best_checked(
    state: RunState, checkpoints: Checkpoints, settings: Mapping[str, Any]
) -> RunState:
    """Forgets best scores whose weights are lost or with which later ones cannot be compared."""
    for file, best in state.bests.items():
        if reason := _reason_to_forget(file, best, state, checkpoints, settings):
            say(f"warning: {checkpoints.folder / file}: {reason}", sys.stderr)
            state = state.without_best(file)
    return state


def _reason_to_forget(
    file: str, best: Best, state: RunState, checkpoints: Checkpoints, settings: Mapping[str, Any]
) -> str | None:
    """Why the score of best weights does not count any more; moves weights of other settings."""
    thresh = state.settings.get("det_acc_thresh", settings["det_acc_thresh"])
    measure = "mean IoU" if file == BEST_SEG else f"Acc@{thresh:g}"
    what = f"the weights of epoch {best.epoch} with {measure} {100 * best.score:.2f} %"
    next_ones = "those of the next epoch will be saved as the best"
    if fault := checkpoints.fault_of_best(best.checksum, file):
        # A kill may have come after they were moved and before a state without them was saved.
        kept = kept_weights(checkpoints.folder, best.epoch, best.checksum, file)
        where = f"in {kept}" if kept else "lost"
        return f"{fault}; {what} are {where}, and {next_ones}"
    if changed := score_changes(state.settings, settings):
        kept = keep_weights(checkpoints.folder, best.epoch, state.settings, file)
        # The settings beside them name files that have other contents now.
        files = ", ".join(key for key in changed if key in READ_BY_NETWORK)
        needed = f" (they need {files} as it was then)" if files else ""
        return (
            f"{what} were evaluated with another {', '.join(changed)}; they are now in {kept}, "
            f"with the settings of their training beside them{needed}, and {next_ones}"
        )
    return None


def report_finished(config: Config, state: RunState) -> None:
    """Says that nothing is left to train; writes only records that a kill has prevented.

    Args:
        config: the settings of the run.
        state: its state, whose epochs are complete.
    """
    written = write_epochs(config.log_path, state.history, config.det_acc_thresh)
    count = config.epoches
    all_epochs = "The only epoch is" if count == 1 else f"All {count} epochs are"
    changed = "only epochs.jsonl and curves.png were" if written else "nothing was"
    say(
        f"{all_epochs} complete, and {changed} changed; raise "
        "epoches to train longer, or start afresh with --overwrite."
    )
    if config.lr_schedule == "cosine":
        say("The cosine schedule then spans all of them: the learning rate rises again.")
