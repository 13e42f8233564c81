"""What training steps have returned: reads it, and judges steps that are not finite."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from config.command_line import say
from config.errors import UserError
from config.schema import Config
from data.loading.pipeline import TrainingSet
from utils.training.distributed.processes import Processes
from utils.training.run.checkpoints import WHAT_HELPS
from utils.training.run.state import RunState

# Steps in a row whose gradients overflow float16, each of which halves the loss scale from 2^9.
OVERFLOWS_TO_WARN, OVERFLOWS_TO_STOP = 10, 40

# A step that nobody has waited for: rows of its samples, and what the training step returned.
UnreadStep = tuple[Any, dict[str, tf.Tensor]]


class TrainingError(UserError):
    """Training cannot continue; the message names the loss term or setting and what to try."""


class StepReader:
    """Reads what the training steps of a run have returned.

    Args:
        config: the settings of the run.
        processes: the processes of the run.
        training_set: what is trained on; names the samples of a step that is not finite.
        steps_per_epoch: number of steps of an epoch.
    """

    def __init__(
        self,
        config: Config,
        processes: Processes,
        training_set: TrainingSet,
        steps_per_epoch: int,
    ) -> None:
        self.config, self.processes = config, processes
        self.training_set, self.steps_per_epoch = training_set, steps_per_epoch
        self._overflows = 0

    def read(
        self,
        state: RunState,
        unread: Iterable[UnreadStep],
        on_step: Callable[[RunState, Mapping[str, float]], object] = lambda *_: None,
    ) -> RunState:
        """Waits for steps and adds them to a state.

        Args:
            state: the state before them.
            unread: the steps.
            on_step: called with the state before each step and the loss terms of the step, if they
                are finite.

        Raises:
            TrainingError: one of them is not finite, and that is not tolerated; or the gradients
                overflow at every loss scale.
        """
        for rows, result in unread:
            values = {name: float(value) for name, value in result.items()}
            broken = [name for name, value in values.items() if not math.isfinite(value)]
            del values["gradient_norm"]
            samples, updated = values.pop("samples"), values.pop("updated") == 1
            losses, skipped = state.losses, state.skipped
            if broken:
                self._report_broken(state, broken, rows)
                skipped += 1
            else:
                losses = losses.with_step(values, samples)
                on_step(state, values)
                self._report_overflow(state, updated)
            state = dataclasses.replace(state, step=state.step + 1, losses=losses, skipped=skipped)
        return state

    def _report_broken(self, state: RunState, broken: Sequence[str], rows: Any) -> None:
        """Warns about a step that is not finite, or raises TrainingError if it is one too many."""
        local = self.processes.strategy.experimental_local_results(rows)
        gathered = self.processes.gather([row for part in local for row in part.numpy().tolist()])
        referents = [self.training_set.referents[row] for rows in gathered for row in rows]
        samples = "; ".join(f"{r.image} (mask-id {r.mask_id})" for r in referents)
        what = (
            f"{self._place(state)}: not finite in {', '.join(broken)}; the samples of the batch: "
            f"{samples}"
        )
        if state.skipped >= self.config.skip_nonfinite:
            tolerated = f", after {state.skipped} such steps," if state.skipped else ""
            raise TrainingError(
                f"{what}. This step{tolerated} stops the training and was not saved. "
                f"{WHAT_HELPS}. Or tolerate such steps with skip_nonfinite=10"
            )
        if self.processes.chief:
            say(f"warning: {what}; the step is skipped", sys.stderr)

    def _report_overflow(self, state: RunState, updated: bool) -> None:
        """Warns of gradients that overflow at every loss scale, or raises TrainingError."""
        self._overflows = 0 if updated else self._overflows + 1
        if self._overflows not in (OVERFLOWS_TO_WARN, OVERFLOWS_TO_STOP):
            return
        what = (
            f"{self._place(state)}: the gradients overflowed float16 in {self._overflows} steps in "
            "a row, none of which changed the weights"
        )
        remedy = "use precision=mixed_bfloat16, or lower seg_loss_weight"
        if self._overflows == OVERFLOWS_TO_STOP:
            raise TrainingError(f"{what}; {remedy}")
        if self.processes.chief:
            say(f"warning: {what}; if that goes on, {remedy}", sys.stderr)

    def _place(self, state: RunState) -> str:
        return f"epoch {state.epoch + 1}, step {state.step + 1} of {self.steps_per_epoch}"
