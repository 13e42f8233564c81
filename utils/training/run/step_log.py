"""The steps of a run that TensorBoard shows."""

from collections.abc import Mapping

from utils.training.epoch_plan import EpochPlan
from utils.training.run.log import RunLog
from utils.training.run.state import RunState

# Steps between two reports, as reading a loss waits for the device. TensorBoard shows each such
# step, and the last one of an epoch.
REPORT_EVERY = 10


class StepLog:
    """Loss terms and learning rate of every `REPORT_EVERY`-th step, and of the last of each epoch.

    They are kept until there is a state: without one, a run that is started again is a new one.

    Args:
        log: the record of the run.
        plan: the steps of an epoch.
    """

    def __init__(self, log: RunLog, plan: EpochPlan) -> None:
        self._log, self._plan = log, plan
        self._kept: list[tuple[int, dict[str, float]]] = []

    def keep(self, before: RunState, terms: Mapping[str, float]) -> None:
        """Keeps a step, if it is to be shown.

        Args:
            before: the state of the run before the step.
            terms: the loss terms of the step.
        """
        number = before.steps_before + before.step + 1
        if number % REPORT_EVERY and before.step + 1 != self._plan.steps:
            return
        rate = self._plan.learning_rate(before.epoch + 1, before.step)
        values = {**terms, "learning_rate": rate}
        self._kept.append((number, {f"step/{name}": value for name, value in values.items()}))

    def write(self) -> None:
        """Records the steps that were kept."""
        for number, values in self._kept:
            self._log.scalars(number, values)
        self._kept.clear()
