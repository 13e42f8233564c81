"""Training, section 4.2 of the paper: one explicit loop, resumable, on one replica or several.

`utils.training.builder.build_trainer` builds the parts of a run; `Trainer` runs them.
"""

import math
import time
from collections.abc import Iterable
from contextlib import nullcontext

import keras
import numpy as np
import tensorflow as tf

from config.errors import UserError
from config.schema import Config
from data.loading.pipeline import TrainingSet, training_batches, unwrap_errors
from data.support.progress import Progress
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.metrics import Result, flat_result, format_summary
from utils.evaluation.pictures import draw_panels
from utils.prediction.grounder import Grounder
from utils.training.checkpoints import Checkpoints
from utils.training.distribution import distribute, is_chief
from utils.training.run_log import RunLog
from utils.training.run_state import RunState
from utils.training.schedule import learning_rate
from utils.training.train_step import TrainStep, make_train_step

REPORT_EVERY = 10  # Steps; reading a loss waits for the device.


class TrainingError(UserError):
    """Training cannot continue; the message names the loss term or setting and what to try."""


class Trainer:
    """A training run.

    Args:
        config: the settings of the run.
        strategy: tf.distribute.Strategy under which network and optimizer were built.
        training_set: what to train on.
        evaluator: evaluates the network after each epoch.
        grounder: runs the network that is trained.
        optimizer: of `build_optimizer`, already built.
        checkpoints: saves and restores network and optimizer.

    Raises:
        TrainingError: the training set is smaller than a batch, and there are several replicas.
    """

    def __init__(
        self,
        config: Config,
        strategy: tf.distribute.Strategy,
        training_set: TrainingSet,
        evaluator: Evaluator,
        grounder: Grounder,
        optimizer: keras.optimizers.Optimizer,
        checkpoints: Checkpoints,
    ) -> None:
        self.config, self.strategy, self.chief = config, strategy, is_chief(strategy)
        self.training_set, self.evaluator = training_set, evaluator
        self.grounder, self.model = grounder, grounder.model
        self.optimizer, self.checkpoints = optimizer, checkpoints
        self.steps_per_epoch = self._count_steps()
        self._step: TrainStep | None = None

    def run(self) -> RunState:
        """Trains to the last epoch and returns the state of the run.

        Resumes from the last complete epoch if the log folder contains the state of an earlier
        run.
        """
        config = self.config
        state = self.checkpoints.restore_last()
        if state is None:
            state = RunState(config.start_epoch)
        elif self.chief:
            print(f"{self.checkpoints.last_path}: resuming after epoch {state.epoch}")
        if state.epoch >= config.epoches:
            print(f"All {config.epoches} epochs are complete; raise epoches to train longer.")
            return state
        with RunLog(config.log_path, config.to_dict()) if self.chief else nullcontext() as log:
            for epoch in range(state.epoch + 1, config.epoches + 1):
                train, det_acc = self.train_epoch(epoch), None
                if log is not None:
                    val = self.evaluate(epoch, log)
                    det_acc = val["det_acc"]
                    if state.is_improved_by(det_acc):
                        self.checkpoints.save_best()
                    self._record(log, epoch, train, val)
                state = state.after(epoch, det_acc)
                self.checkpoints.save_last(state)
        return state

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Trains for one pass over the training set.

        Returns:
            Mean of each loss term over the samples, learning rate of the last step, seconds and
            samples per second.

        Raises:
            TrainingError: a loss term is not finite.
        """
        config = self.config
        batches = self._batches(epoch)
        if self._step is None:
            self._step = self._make_step(batches.element_spec)
        means, unread = LossMeans(), []
        started = time.perf_counter()
        samples = min(self.steps_per_epoch * config.batch_size, len(self.training_set))
        with Progress(samples, f"epoch {epoch}/{config.epoches}", "samples") as bar:
            for step, batch in enumerate(unwrap_errors(batches)):
                rate = self._learning_rate(epoch, step)
                self.optimizer.learning_rate = rate
                unread.append(self._step(batch))
                if len(unread) == REPORT_EVERY or step + 1 == self.steps_per_epoch:
                    means.add(unread, epoch)
                    unread = []
                    bar.update(int(means.samples), loss=means.result()["loss"])
        seconds = time.perf_counter() - started
        return {
            **means.result(),
            "learning_rate": rate,
            "seconds": seconds,
            "samples_per_s": means.samples / seconds,
        }

    def evaluate(self, epoch: int, log: RunLog) -> Result:
        """Evaluates the network on the evaluation set and logs pictures of its first expressions.

        Returns:
            dict of `utils.evaluation.metrics.Metrics.result`.
        """
        config = self.config
        result = self.evaluator.evaluate(
            self.grounder, config.word_len, f"  validate {epoch}/{config.epoches}"
        )
        if config.log_images:
            first = range(min(config.log_images, self.evaluator.n_expressions))
            panels = draw_panels(self.evaluator, self.grounder, config.word_len, first)
            log.images(epoch, "val", panels)
        return result

    def _record(self, log: RunLog, epoch: int, train: dict[str, float], val: Result) -> None:
        log.epoch(epoch, {"train": train, "val": val})
        scalars = {f"train/{name}": value for name, value in train.items()}
        numbers = flat_result(val, self.config.det_acc_thresh)
        scalars |= {f"val/{name}": value for name, value in numbers.items()}
        log.scalars(epoch, scalars)
        summary = format_summary(val, self.config.det_acc_thresh)
        print(f"epoch {epoch}: loss {train['loss']:.3f}, {summary}")

    def _batches(self, epoch: int) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        config = self.config
        batches = training_batches(
            self.training_set,
            epoch,
            config.batch_size,
            config.workers,
            config.max_queue_size,
            drop_remainder=self.strategy.num_replicas_in_sync > 1,
        )
        return distribute(self.strategy, batches)

    def _make_step(self, batch_spec: object) -> TrainStep:
        return make_train_step(
            self.strategy,
            self.model,
            self.optimizer,
            self.grounder.anchors_px,
            mask_weight=self.config.seg_loss_weight,
            cached_features=self.training_set.features is not None,
            jit_compile=bool(self.config.jit_compile),
            batch_spec=batch_spec,
        )

    def _learning_rate(self, epoch: int, step: int) -> float:
        config = self.config
        return learning_rate(
            epoch,
            step,
            self.steps_per_epoch,
            initial=config.lr,
            epochs=config.epoches,
            schedule=config.lr_schedule,
            divide_at=config.steps,
            warmup=config.warmup_steps,
        )

    def _count_steps(self) -> int:
        samples, batch_size = len(self.training_set), self.config.batch_size
        if self.strategy.num_replicas_in_sync == 1:
            return math.ceil(samples / batch_size)
        if samples < batch_size:
            raise TrainingError(
                f"train_set holds {samples} referents, less than batch_size {batch_size}; several "
                "replicas need complete batches"
            )
        return samples // batch_size


class LossMeans:
    """Means of loss terms over samples.

    Attributes:
        samples: number of samples added.
    """

    def __init__(self) -> None:
        self.samples = 0.0
        self._sums: dict[str, float] = {}

    def add(self, results: Iterable[dict[str, tf.Tensor]], epoch: int) -> None:
        """Adds results of the training step.

        Args:
            results: of the function that `make_train_step` returns.
            epoch: for the error message.

        Raises:
            TrainingError: a loss term is not finite.
        """
        for result in results:
            values = {name: float(value) for name, value in result.items()}
            broken = [name for name, value in values.items() if not np.isfinite(value)]
            if broken:
                raise TrainingError(
                    f"epoch {epoch}: the loss is not finite in {', '.join(broken)}; the last state "
                    "is kept. Try a smaller lr, warmup_steps, or clip_norm=10"
                )
            samples = values.pop("samples")
            for name, value in values.items():
                self._sums[name] = self._sums.get(name, 0.0) + samples * value
            self.samples += samples

    def result(self) -> dict[str, float]:
        """The mean of each term."""
        return {name: total / self.samples for name, total in self._sums.items()}
