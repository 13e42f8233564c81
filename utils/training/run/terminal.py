"""What train.py shows beside its bar: what a run will do, the time left, and the final table."""

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

from config.run_folder import BEST_EMA, BEST_SEG, BEST_WEIGHTS
from config.schema import FIELDS, Config
from data.loading.pipeline import TrainingSet
from data.preparation.wording import plural
from utils.environment import settings_line, shown_path
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.metrics import METRICS
from utils.prediction.expressions import words_text
from utils.training.run.state import Best

# What a training does not use, or is shown in another line.
NOT_LISTED = ("about", "log_path", "evaluate_model")
LAST_EPOCHS = 10


def data_lines(training_set: TrainingSet, evaluators: Mapping[str, Evaluator]) -> list[str]:
    """Describes the sets of a run: what it trains on, and each evaluation set in a line.

    Args:
        training_set: what to train on.
        evaluators: by the names of their results, of `utils.training.builder.build_sets`.
    """
    referents = plural(len(training_set.referents), "referent")
    drawn = f" ({len(training_set):,} per epoch)" if training_set.shares else ""
    first, *others = (
        f"{plural(evaluator.n_expressions, 'expression')} in "
        f"{plural(len(evaluator.groups), 'image')} to evaluate on"
        for evaluator in evaluators.values()
    )
    return [
        f"data: {referents}{drawn} in {plural(len(training_set.images), 'image')} to train on, "
        f"{first}{words_text(training_set.words)}",
        *(f"{name}: {text}" for name, text in zip([*evaluators][1:], others, strict=True)),
    ]


def plan_lines(config: Config, steps_per_epoch: int, *, dry_run: bool = False) -> list[str]:
    """Describes a run before it starts: its length, its settings, and where its files go.

    Args:
        config: the settings.
        steps_per_epoch: number of steps per epoch.
        dry_run: whether nothing will be written.
    """
    side = config.input_size
    folder = shown_path(config.log_path)
    return [
        f"training: {plural(config.epoches, 'epoch')} of {plural(steps_per_epoch, 'step')}, "
        f"{plural(config.batch_size, 'sample')} per step; input {side} × {side} pixels, "
        f"{plural(config.word_len, 'word')} per expression",
        settings_line(config, FIELDS.keys() - {*NOT_LISTED}),
        "output: none, as in every dry run"
        if dry_run
        else f"output: {folder}/ (to watch it: tensorboard --logdir {folder})",
    ]


class TimeLeft:
    """Estimates how long a run still takes, from what this process has measured.

    Until the first validation, the estimate is that of the training steps alone.

    Args:
        epochs: number of epochs of the run.
        samples_per_epoch: number of samples per epoch.
    """

    def __init__(self, epochs: int, samples_per_epoch: int) -> None:
        self._epochs, self._samples = epochs, samples_per_epoch
        self._validation_s = 0.0
        self._start: tuple[float, int] | None = None
        self._s_per_sample: float | None = None

    def begin_epoch(self) -> None:
        """Measures anew: what lies between two epochs is not training."""
        self._start = None

    def validated(self, seconds: float) -> None:
        """Reports what is done after the steps of an epoch: validation, pictures, files."""
        self._validation_s = seconds

    def text(self, now: float, epoch: int, done: int) -> str | None:
        """The time that the run still takes, as "1 day, 3:20:00".

        Args:
            now: of `time.monotonic`.
            epoch: the epoch that is trained, counted from 1.
            done: samples of this epoch that are done.

        Returns:
            None before a second report: the first steps include the compilation.
        """
        if self._start is None:
            self._start = now, done
        elif done > self._start[1]:
            self._s_per_sample = (now - self._start[0]) / (done - self._start[1])
        if self._s_per_sample is None:
            return None
        later = self._epochs - epoch
        samples = later * self._samples + self._samples - done
        seconds = samples * self._s_per_sample + (later + 1) * self._validation_s
        return str(datetime.timedelta(seconds=round(seconds)))


def epochs_table(
    history: Sequence[Mapping[str, Any]], det_thresh: float, best_epoch: int | None
) -> str:
    """Formats the last epochs of a run and the best one as a table, metrics in percent.

    Args:
        history: the record of each epoch, as `utils.training.run.log.RunLog` writes it.
        det_thresh: threshold of the box accuracy.
        best_epoch: the epoch to mark; None for none.

    Returns:
        Lines without a line break at the end. The metrics on other evaluation sets and those of
        averaged weights follow the first ones of their epoch, in lines that begin with their names.
    """
    metrics = [metric for metric in METRICS.values() if not metric.parts]
    labels = [metric.label.format(det_thresh=f"{det_thresh:g}") for metric in metrics]
    widths = [max(len(label), 7) for label in labels]
    heads = [f"{label:>{width}}" for label, width in zip(labels, widths, strict=True)]
    lines = ["  ".join([f"{'epoch':>7}", f"{'loss':>9}", *heads])]
    first_of_last = max(len(history) - LAST_EPOCHS, 0)
    for number, record in enumerate(history):
        is_best = record["epoch"] == best_epoch
        if number < first_of_last and not is_best:
            if number == 0 or history[number - 1]["epoch"] == best_epoch:
                lines.append(f"{'…':>7}")
            continue
        loss = _cell((record.get("train") or {}).get("loss"), 9, 1, 3)
        starts = {"val": f"{'*' if is_best else ' '}{record['epoch']:>6}  {loss}"}
        starts |= {
            name: f"{name.removeprefix('val_'):>7}".ljust(18)
            for name in record
            if name.startswith("val_")
        }
        for name, start in starts.items():
            values = record.get(name) or {}
            cells = [
                _cell(values.get(metric.name), width, 100, 2)
                for metric, width in zip(metrics, widths, strict=True)
            ]
            lines.append("  ".join([start, *cells]))
    return "\n".join(lines)


def best_lines(
    bests: Mapping[str, Best], det_thresh: float, folder: str, best_of: str = "first"
) -> list[str]:
    """Describes each file of best weights: its score, epoch and path.

    Args:
        bests: as in `RunState`.
        det_thresh: threshold of the box accuracy.
        folder: the log folder.
        best_of: config key.
    """
    over = " (mean of all sets)" if best_of == "mean" else ""
    acc = f"Acc@{det_thresh:g}"
    names = {BEST_WEIGHTS: acc, BEST_SEG: "mean IoU", BEST_EMA: f"{acc} of the averages"}
    return [
        f"Best {name}{over} {100 * bests[file].score:.2f} % after epoch {bests[file].epoch}: "
        f"{folder}/{file}"
        for file, name in names.items()
        if file in bests
    ]


def _cell(value: float | None, width: int, factor: float, digits: int) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return f"{'–':>{width}}"
    return f"{factor * value:>{width}.{digits}f}"
