"""Training, section 4.2 of the paper: one explicit loop, resumable, on one replica or several.

`utils.training.builder.build_trainer` builds the parts of a run; `Trainer` runs them.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

import keras

from config.command_line import say
from config.schema import Config
from config.signals import Stopped, StopRequest, deferred_stop
from data.loading.pipeline import TrainingSet, training_batches
from data.preparation.wording import plural
from data.support.progress import Progress
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.metrics import Result, format_summary, percentages
from utils.evaluation.network_pictures import draw_panels
from utils.evaluation.results.pictures import rank_photographs
from utils.prediction.grounder import Grounder, NotFiniteError
from utils.training.bests import save_bests
from utils.training.distributed.batches import divided, share_of
from utils.training.distributed.evaluation import evaluate
from utils.training.distributed.processes import Processes
from utils.training.epoch_plan import plan_epoch
from utils.training.optimizer import averaged_weights
from utils.training.run.checkpoints import WHAT_HELPS, Checkpoints
from utils.training.run.folder import held_folder, move_away
from utils.training.run.log import RunLog, plain
from utils.training.run.resumption import check_same_start, report_finished, resumed_state
from utils.training.run.state import RunState
from utils.training.run.step_log import REPORT_EVERY, StepLog
from utils.training.run.terminal import TimeLeft
from utils.training.step_reader import StepReader, TrainingError, UnreadStep
from utils.training.train_step import TrainStep, make_train_step

# Slow steps are read after this time, before there are `REPORT_EVERY` of them.
REPORT_AFTER_S = 5.0
# What runs before anything is trained, so that a fault of the data costs minutes, not an epoch.
TRIED_STEPS, TRIED_BATCHES = 2, 2


class Trainer:
    """A training run.

    Args:
        config: the settings of the run.
        settings: of `utils.training.run.settings.run_settings`, stored with the state.
        processes: the processes of the run, under whose strategy network and optimizer were built.
        training_set: what to train on.
        evaluators: evaluate the network after each epoch, by the names of their results, "val"
            first.
        grounder: runs the network that is trained.
        optimizer: of `build_optimizer`, already built.
        checkpoints: saves and restores network and optimizer.
        force: whether to resume a run whatever has changed in its settings.

    Raises:
        TrainingError: the training set or its batches are too small, see `plan_epoch`.
    """

    def __init__(
        self,
        config: Config,
        settings: dict[str, Any],
        processes: Processes,
        training_set: TrainingSet,
        evaluators: Mapping[str, Evaluator],
        grounder: Grounder,
        optimizer: keras.optimizers.Optimizer,
        checkpoints: Checkpoints,
        force: bool = False,
    ) -> None:
        self.config, self.settings, self.force = config, settings, force
        self.processes, self.chief = processes, processes.chief
        self.training_set, self.evaluators = training_set, evaluators
        self.grounder, self.model = grounder, grounder.model
        self.optimizer, self.checkpoints = optimizer, checkpoints
        self.plan = plan_epoch(config, len(training_set), processes.replicas)
        self._steps = StepReader(config, processes, training_set, self.plan.steps)
        self._step: TrainStep | None = None
        self._log: RunLog | None = None
        self._step_log: StepLog | None = None
        self._time_left = TimeLeft(config.epoches, self.plan.samples)

    def run(self, *, fresh: bool = False) -> RunState:
        """Trains to the last epoch and returns the state of the run.

        Resumes where an earlier run in the log folder stopped. A signal to stop saves the state
        after the current step. A run that is complete already changes nothing.

        Args:
            fresh: whether to start afresh. An earlier run in the log folder is moved away, once
                validation has found its files.

        Raises:
            UserError, OSError: the state, a sample or a loss cannot be used, or a file cannot be
                written. The last state stays.
            config.signals.Stopped: a signal asked to stop; everything is saved.
        """
        config = self.config
        with deferred_stop() as stop, self.processes.leaving_together():
            if fresh:
                self._try_validation(stop)
                if self.chief and (old := move_away(config.log_path)):
                    say(f"{config.log_path}: the earlier run is now in {old}")
            with held_folder(config.log_path) if self.chief else nullcontext():
                state = self._start_state(fresh)
                check_same_start(self.processes, self.checkpoints, state)
                if state.epoch < config.epoches:
                    if not fresh:
                        self._try_validation(stop)
                    stop.begun = True
                    state = self._train(state, stop)
                elif self.chief:
                    report_finished(config, state)
        return state

    def try_out(self) -> None:
        """Runs two training steps and two batches of validation, and writes nothing.

        Raises:
            UserError, OSError: a sample cannot be used, or a loss is not finite.
        """
        state, unread = RunState(), []
        for step, batch in enumerate(islice(self._batches(1), TRIED_STEPS)):
            unread.append(self._run_step(batch, 1, step))
        loss = self._steps.read(state, unread).losses.result().get("loss", math.nan)
        with deferred_stop() as stop, self.processes.leaving_together():
            validated = self._try_validation(stop)
        if not self.chief:
            return
        uncached = ", and cache_features was ignored" if self.config.cache_features else ""
        say(
            f"Dry run: {plural(len(unread), 'training step')}, mean loss {loss:.3f}, and "
            f"validation on {plural(validated, 'image')}; nothing was written{uncached}. An epoch "
            f"has {plural(self.plan.steps, 'step')}"
        )

    def train_epoch(self, state: RunState, stop: StopRequest) -> RunState:
        """Trains the remaining steps of an epoch, and saves the state every few minutes.

        Args:
            state: the state to continue from; `state.step` steps of the epoch are done.
            stop: asked after each step.

        Returns:
            The state after the last step of the epoch, which has been saved.

        Raises:
            TrainingError: loss or gradients are not finite, more often than is tolerated.
            config.signals.Stopped: `stop` asks for it, here or in another process; the state has
                been saved.
        """
        config, epoch, steps = self.config, state.epoch + 1, self.plan.steps
        if state.step >= steps:
            return state
        unread: list[UnreadStep] = []
        read_at = saved_at = time.monotonic()
        samples, alone = self.plan.samples, self.processes.count == 1
        label = f"epoch {epoch}/{config.epoches}"
        on_step = [] if self._step_log is None else [self._step_log.keep]
        self._time_left.begin_epoch()
        with Progress(samples, label, "samples", shown=self.chief, lasting=False) as bar:
            for step, batch in enumerate(self._batches(epoch, state.step), start=state.step):
                unread.append(self._run_step(batch, epoch, step))
                now = time.monotonic()
                due = 0 < 60 * config.save_every_minutes <= now - saved_at
                last = step + 1 == steps
                # Several processes have to agree, which they do when they read their losses.
                slow = now - read_at >= REPORT_AFTER_S
                wished = alone and (stop.requested or due or slow)
                if not (last or wished or len(unread) == REPORT_EVERY):
                    continue
                state = self._steps.read(state, unread, *on_step)
                state = dataclasses.replace(state, seconds=state.seconds + now - read_at)
                read_at, unread = now, []
                done = min((step + 1) * config.batch_size, samples)
                bar.update(done, **self._shown(state, epoch, done, now))
                stops, dues = zip(*self.processes.gather([stop.number, due]), strict=True)
                stopping = next((number for number in stops if number is not None), None)
                if last or dues[0] or stopping is not None:
                    self.checkpoints.save(state)
                    saved_at = time.monotonic()
                    self.processes.barrier()
                if self._step_log is not None and self.checkpoints.found:
                    self._step_log.write()
                if stopping is not None:
                    raise Stopped(stopping)
        return state

    def evaluate(self, epoch: int, stop: StopRequest, averages: bool = False) -> dict[str, Result]:
        """Evaluates the network on each evaluation set.

        Args:
            epoch: number of the epoch, from 1.
            stop: asked after each image.
            averages: whether its weights now are their averages, which the bar says; pictures of
                some predictions are logged otherwise.

        Returns:
            dict of `utils.evaluation.metrics.Metrics.result` by the name of the evaluator.
        """
        config, results = self.config, {}
        for name, evaluator in self.evaluators.items():
            what = [*(["averages"] if averages else []), *([] if name == "val" else [name[4:]])]
            label = " ".join(["  validate", *what, f"{epoch}/{config.epoches}"])
            with self._divergence_explained():
                results[name], quality = evaluate(
                    self.processes,
                    evaluator,
                    self.grounder,
                    config.word_len,
                    label,
                    stop,
                    rank=config.log_images > 0 and not averages,
                )
            if self._log is not None and quality:
                images = [r.image for r in evaluator.referents for _ in r.expressions]
                for kind, positions in rank_photographs(quality, images, config.log_images).items():
                    panels = draw_panels(evaluator, self.grounder, config.word_len, positions)
                    self._log.images(epoch, f"{name}/{kind}", panels)
        return results

    def _train(self, state: RunState, stop: StopRequest) -> RunState:
        """Trains and validates the remaining epochs."""
        with self._record() if self.chief else nullcontext() as self._log:
            if self._log is not None:
                self._step_log = StepLog(self._log, self.plan)
                if state.history:  # A stop may have come before they were written.
                    self._log.epochs(state.history)
            while state.epoch < self.config.epoches:
                state = self.train_epoch(state, stop)
                trained_at = time.monotonic()
                state = self._complete_epoch(state, stop)
                self._time_left.validated(time.monotonic() - trained_at)
        return state

    def _start_state(self, fresh: bool) -> RunState:
        """The state to begin with, with network and optimizer restored to it."""
        state = None
        if not fresh:
            state = resumed_state(
                self.checkpoints,
                self.settings,
                len(self.training_set),
                self.plan.steps,
                force=self.force,
            )
        start = self.config.start_epoch
        before = start * self.plan.steps
        return state or RunState(start, steps_before=before, settings=self.settings)

    def _record(self) -> RunLog:
        # A config that was made for another folder evaluates the weights there.
        own = self.config.replace(evaluate_model=str(self.checkpoints.best_path))
        return RunLog(
            own.log_path,
            own.to_dict(),
            new=not self.checkpoints.found,
            replicas=str(self.processes),
        )

    def _complete_epoch(self, state: RunState, stop: StopRequest) -> RunState:
        """Validates the trained epoch, saves the state and the best weights, and records both."""
        config, epoch, log = self.config, state.epoch + 1, self._log
        train = self._training_record(state)
        results, averages = self.evaluate(epoch, stop), {}
        if config.ema:
            with averaged_weights(self.model.trainable_variables, self.optimizer):
                averages = self.evaluate(epoch, stop, averages=True)
        bests = save_bests(
            self.checkpoints,
            state,
            results,
            averages,
            best_seg=bool(config.best_seg),
            best_of=config.best_of,
        )
        results |= {f"{name}_ema": result for name, result in averages.items()}
        if log is not None:
            scalars = {f"train/{name}": value for name, value in train.items()}
            for name, result in results.items():
                numbers = percentages(result, config.det_acc_thresh)
                scalars |= {f"{name}/{number}": value for number, value in numbers.items()}
            log.scalars(epoch, scalars)
        state = state.after_epoch(plain({"train": train, **results}), bests)
        self.checkpoints.save(state)
        if log is not None:
            log.epochs(state.history)
            what = {"val": f"loss {train.get('loss', math.nan):.3f}", "val_ema": "averages"}
            for name, result in results.items():
                summary = format_summary(result, config.det_acc_thresh)
                say(f"epoch {epoch}: {what.get(name, name[4:])}, {summary}")
        self._stop_together(stop)
        return state

    def _shown(self, state: RunState, epoch: int, done: int, now: float) -> dict[str, Any]:
        """What the bar shows: mean loss of the epoch, time left for the run, each loss term."""
        losses = state.losses.result()
        left = self._time_left.text(now, epoch, done)
        return {
            "loss": losses.pop("loss", math.nan),
            **({"run": f"{left} left"} if left else {}),
            **losses,
        }

    def _training_record(self, state: RunState) -> dict[str, float]:
        """Mean of each loss term over the samples, last learning rate, and speed of an epoch."""
        return {
            **state.losses.result(),
            "learning_rate": self.plan.learning_rate(state.epoch + 1, self.plan.steps - 1),
            "seconds": state.seconds,
            "samples_per_s": state.losses.samples / state.seconds,
        }

    def _try_validation(self, stop: StopRequest) -> int:
        """Evaluates two batches of images per set, before anything depends on it; counts them."""
        tried = 0
        for evaluator in self.evaluators.values():
            images = evaluator.groups[: TRIED_BATCHES * evaluator.batch_size]
            few = dataclasses.replace(
                evaluator, referents=[r for image in images for r in image.referents]
            )
            tried += len(images)
            if self.chief:
                with self._divergence_explained():
                    for _ in few.measure(self.grounder, self.config.word_len):
                        if stop.requested:
                            break
        self._stop_together(stop)
        return tried

    @contextmanager
    def _divergence_explained(self) -> Iterator[None]:
        """Says how to continue if the last update, which no loss has judged, spoiled the network.

        Raises:
            TrainingError: the network computes NaN or infinite values, and the run has a state.
        """
        try:
            yield
        except NotFiniteError as error:
            if not self.checkpoints.found:
                raise
            raise TrainingError(f"{error.what}: the training has diverged. {WHAT_HELPS}") from None

    def _stop_together(self, stop: StopRequest) -> None:
        """Raises `Stopped` in every process if one of them was asked to stop."""
        number = self.processes.agreed_stop(stop)
        if number is not None:
            raise Stopped(number)

    def _run_step(self, batch: Any, epoch: int, step: int) -> UnreadStep:
        self.optimizer.learning_rate = self.plan.learning_rate(epoch, step)
        assert self._step is not None  # Built with the batches.
        return batch["row"], self._step(batch)

    def _batches(self, epoch: int, first_step: int = 0) -> Iterator[Any]:
        """The batches of an epoch from a step on; the first call also builds the training step."""
        config, processes = self.config, self.processes
        batches = training_batches(
            self.training_set,
            epoch,
            config.batch_size,
            config.workers,
            config.max_queue_size,
            config.last_batch,
            first_step,
            share_of(processes),
        )
        if self._step is None:
            self._step = make_train_step(
                processes.strategy,
                self.model,
                self.optimizer,
                self.grounder.anchors_px,
                mask_weight=config.seg_loss_weight,
                detection_weight=config.det_loss_weight,
                cem_weight=config.cem_loss_weight,
                cached_features=self.training_set.features is not None,
                jit_compile=bool(config.jit_compile),
                batch_spec=batches.element_spec if processes.local == 1 else None,
                keep_averages=config.skip_nonfinite > 0,
                accumulate_steps=config.accumulate_steps,
            )
        return divided(processes, batches, self.plan.batch_sizes[first_step:])
