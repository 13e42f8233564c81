"""Which steps TensorBoard shows, and under which numbers."""

import dataclasses

from config.schema import Config
from utils.training.epoch_plan import EpochPlan
from utils.training.run.state import RunState
from utils.training.run.step_log import StepLog


class Recorded:
    """Stands for the record of a run."""

    def __init__(self):
        self.steps = []

    def scalars(self, step, values):
        self.steps.append((step, values["step/loss"]))


def logged(state, steps, batch_size, samples=24):
    """The recorded steps of the rest of an epoch, and the state after it."""
    log = Recorded()
    step_log = StepLog(log, EpochPlan(Config().replace(batch_size=batch_size), samples))
    for _ in range(steps):
        step_log.keep(state, {"loss": state.step})
        state = dataclasses.replace(state, step=state.step + 1)
    assert not log.steps  # Without a state on disk, they would be those of another run.
    step_log.write()
    return log.steps, state.after_epoch()


def test_every_tenth_step_and_the_last_are_shown_with_numbers_that_never_fall():
    shown, state = logged(RunState(), 12, batch_size=2)
    assert shown == [(10, 9), (12, 11)]
    shown, state = logged(state, 12, batch_size=2)
    assert shown == [(20, 7), (24, 11)]
    # Steps of another size: six an epoch.
    shown, state = logged(state, 6, batch_size=4)
    assert shown == [(30, 5)]
    assert state.steps_before == 30
