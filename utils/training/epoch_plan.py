"""An epoch of a run: its samples, its steps and their batches, and the learning rate of each."""

import math
from dataclasses import dataclass

from config.schema import Config
from data.loading.pipeline import samples_per_epoch
from data.preparation.wording import plural
from utils.training.schedule import learning_rate
from utils.training.step_reader import TrainingError


@dataclass(frozen=True)
class EpochPlan:
    """How an epoch is divided into steps.

    Attributes:
        config: the settings of the run.
        samples: samples of an epoch, in all processes.
    """

    config: Config
    samples: int

    @property
    def steps(self) -> int:
        """Number of steps of an epoch."""
        return math.ceil(self.samples / self.config.batch_size)

    @property
    def batch_sizes(self) -> list[int]:
        """Number of samples in each step of an epoch, on all replicas."""
        starts = range(0, self.samples, self.config.batch_size)
        return [min(self.config.batch_size, self.samples - start) for start in starts]

    def learning_rate(self, epoch: int, step: int) -> float:
        """The learning rate of a step: epochs are counted from 1, steps from 0."""
        config = self.config
        return learning_rate(
            epoch,
            step,
            self.steps,
            initial=config.lr,
            epochs=config.epoches,
            schedule=config.lr_schedule,
            divide_at=config.steps,
            warmup=config.warmup_steps,
        )


def plan_epoch(config: Config, available: int, replicas: int) -> EpochPlan:
    """Plans the epochs of a run.

    Args:
        config: the settings of the run.
        available: number of referents of the training set.
        replicas: number of devices that share each batch.

    Raises:
        TrainingError: the training set is smaller than a batch, and `last_batch` drops it; or a
            batch, or its part, has fewer samples than there are replicas; or a part has only one.
    """
    plan = EpochPlan(config, samples_per_epoch(available, config.batch_size, config.last_batch))
    if not plan.steps:
        raise TrainingError(
            f"train_set holds {plural(available, 'referent')}, less than batch_size "
            f'{config.batch_size}, and last_batch is "drop": there is nothing to train on; '
            'reduce batch_size or set last_batch to "wrap"'
        )
    parts, smallest = config.accumulate_steps, plan.batch_sizes[-1]
    if config.batch_size < replicas:
        raise TrainingError(
            f"batch_size = {config.batch_size}: each of the {replicas} replicas needs a "
            "sample in every step; raise batch_size, or train on fewer devices"
        )
    if config.batch_size < replicas * parts:
        raise TrainingError(
            f"accumulate_steps = {parts}: each part of a batch needs a sample on each of the "
            f"{replicas} replicas; it must be at most {config.batch_size // replicas}"
        )
    # BatchNorm has no variance of a single sample: a part of all replicas needs two.
    if smallest < (replicas if parts == 1 else max(replicas, 2) * parts):
        what = f"{replicas} replicas" if parts == 1 else "the parts of accumulate_steps"
        raise TrainingError(
            f'last_batch = "short" leaves {plural(smallest, "sample")} for {what} '
            'in the last step; set last_batch to "wrap" or "drop"'
        )
    return plan
