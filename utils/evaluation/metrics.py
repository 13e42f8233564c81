"""Metrics of an evaluation: box accuracy, mask IoU, precision at IoU thresholds, inconsistency.

A metric is one function decorated with `@metric`: it gives a numerator and a denominator per
expression, and its value over a set is the ratio of their sums. Every registered metric is
computed, written to results, logged and printed. Only sums are kept, so memory does not grow with
the set, and no mean of batch means is taken.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from config.errors import UserError
from data.preparation.wording import plural

PRECISION_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
ACCURACY_THRESHOLDS = (0.75, 0.9)  # Besides `det_thresh`.
MEAN_ACCURACY = "0.5:0.95"
BOX_EPSILON = 1e-7
MASK_EPSILON = 1e-10
CONSISTENCY_THRESHOLD = 0.5
TASKS = ("REC", "RES", "both")

# Value by metric, and "n_expressions"; {part: value} for a metric with parts.
Result = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Overlaps of predicted with true boxes and masks, of which metrics are made.

    Attributes:
        det_thresh: IoU that a correct box exceeds.
        det_iou: (n,) IoU of each box by `detection_iou`.
        seg_iou, intersection, union: (n,) of each mask, by `mask_iou`.
    """

    det_thresh: float
    det_iou: np.ndarray
    seg_iou: np.ndarray
    intersection: np.ndarray
    union: np.ndarray

    @cached_property
    def ones(self) -> np.ndarray:
        """(n,) ones, the denominator of a mean over the expressions."""
        return np.ones(len(self.det_iou))

    @cached_property
    def box_correct(self) -> np.ndarray:
        """(n,) bool, whether the IoU of the box exceeds `det_thresh`."""
        return self.det_iou > self.det_thresh

    @cached_property
    def mask_correct(self) -> np.ndarray:
        """(n,) bool, whether the IoU of the mask exceeds one half."""
        return self.seg_iou > CONSISTENCY_THRESHOLD


Terms = Callable[[Overlaps], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Metric:
    """A metric over a set: the sum of numerators divided by the sum of denominators.

    Attributes:
        name: key in the result.
        task: "REC", "RES" or "both".
        label: in tables and logs; may contain {det_thresh} and {part}.
        terms: `Overlaps` of n expressions → (numerators, denominators), each (n,), or (n, parts)
            for a metric with parts.
        parts: names of the values of a metric that has several, such as thresholds.
        epsilon: added to both sums.
        aliases: other names of the same measure in the literature, for tables.
    """

    name: str
    task: str
    label: str
    terms: Terms
    parts: tuple[str, ...] = ()
    epsilon: float = 0.0
    aliases: tuple[str, ...] = ()

    def sums(self, overlaps: Overlaps) -> np.ndarray:
        """Sums over n expressions: float64 (2,) or (2, parts), numerators and denominators."""
        sums = [np.sum(term, axis=0, dtype=np.float64) for term in self.terms(overlaps)]
        return np.stack(np.broadcast_arrays(*sums))

    def value(self, sums: np.ndarray) -> float | dict[str, float]:
        """The metric for sums over a set: one number, or one per part."""
        numerator, denominator = sums + self.epsilon
        ratio = (numerator / denominator).tolist()
        return dict(zip(self.parts, ratio, strict=True)) if self.parts else ratio

    def labeled(self, result: Result, det_thresh: float) -> Iterator[tuple[str, float]]:
        """Yields (label, value) for each value of this metric in a result."""
        value = result[self.name]
        for part, number in value.items() if isinstance(value, dict) else [("", value)]:
            yield self.label.format(det_thresh=f"{det_thresh:g}", part=part), number


METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    *,
    task: str,
    label: str,
    parts: Sequence[str] = (),
    epsilon: float = 0.0,
    aliases: Sequence[str] = (),
) -> Callable[[Terms], Terms]:
    """Registers a function `Overlaps` → (numerators, denominators); see `Metric`.

    Raises:
        ValueError: the name is taken, or there is no such task.
    """

    def register(terms: Terms) -> Terms:
        if name in METRICS or name == "n_expressions":
            raise ValueError(f"a metric named {name!r} is registered already")
        if task not in TASKS:
            raise ValueError(f"metric {name}: task {task!r} is not one of {TASKS}")
        METRICS[name] = Metric(name, task, label, terms, tuple(parts), epsilon, tuple(aliases))
        return terms

    return register


@metric("det_acc", task="REC", label="Acc@{det_thresh}")
def box_accuracy(overlaps: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Share of correct boxes."""
    return overlaps.box_correct, overlaps.ones


@metric(
    "box_acc",
    task="REC",
    label="Acc@{part}",
    parts=[*(f"{t:g}" for t in ACCURACY_THRESHOLDS), MEAN_ACCURACY],
)
def box_accuracies(overlaps: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Share of boxes whose IoU exceeds higher thresholds, and its mean over 0.5, 0.55, …, 0.95."""
    above = overlaps.det_iou[:, None] > np.asarray(ACCURACY_THRESHOLDS)  # (n, 2)
    mean = (overlaps.det_iou[:, None] > np.asarray(PRECISION_THRESHOLDS)).mean(axis=1)  # (n,)
    return np.column_stack([above, mean]), overlaps.ones


@metric("seg_iou", task="RES", label="mean IoU", aliases=("mIoU", "gIoU"))
def mean_mask_iou(overlaps: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the mask IoU over the expressions."""
    return overlaps.seg_iou, overlaps.ones


@metric(
    "overall_iou", task="RES", label="overall IoU", epsilon=MASK_EPSILON, aliases=("oIoU", "cIoU")
)
def overall_mask_iou(overlaps: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the intersections of all masks over the sum of their unions."""
    return overlaps.intersection, overlaps.union


@metric("seg_prec", task="RES", label="Prec@{part}", parts=[f"{t:g}" for t in PRECISION_THRESHOLDS])
def mask_precision(overlaps: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Share of masks whose IoU exceeds each threshold."""
    above = overlaps.seg_iou[:, None] > np.asarray(PRECISION_THRESHOLDS)  # (n, 10)
    return above, overlaps.ones


@metric("ie_score", task="both", label="inconsistency (IE)")
def inconsistency_error(overlaps: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Share of expressions for which exactly one of box and mask is correct."""
    return overlaps.box_correct != overlaps.mask_correct, overlaps.ones


def metrics_of(tasks: Collection[str]) -> dict[str, Metric]:
    """The registered metrics of some tasks, "REC" or "RES"; those of "both" need both."""
    complete = {"REC", "RES"} <= {*tasks}
    return {
        name: metric
        for name, metric in METRICS.items()
        if metric.task in tasks or (metric.task == "both" and complete)
    }


class Metrics:
    """Sums of all registered metrics over a set.

    Args:
        det_thresh: IoU that a correct box exceeds.
        tasks: tasks whose metrics are computed: "REC" and "RES", by default both. The metrics of
            task "both" need both.

    Attributes:
        n_expressions: number of expressions added.
        sums: by name of the metric, the sums of its numerators and denominators, see
            `Metric.sums`; 0 before the first update.
    """

    def __init__(self, det_thresh: float = 0.5, tasks: Collection[str] = ("REC", "RES")) -> None:
        self.det_thresh = float(det_thresh)
        self.n_expressions = 0
        self.sums: dict[str, np.ndarray] = {name: np.zeros(()) for name in metrics_of(tasks)}

    def update(
        self,
        det_iou: float | np.ndarray,
        seg_iou: float | np.ndarray,
        intersection: float | np.ndarray,
        union: float | np.ndarray,
    ) -> None:
        """Adds expressions.

        Args:
            det_iou: number or (n,), IoU of each box by `detection_iou`.
            seg_iou, intersection, union: numbers or (n,), of each mask, by `mask_iou`.

        Raises:
            ValueError: the arguments differ in length, or one contains NaN or infinity.
        """
        given = (det_iou, seg_iou, intersection, union)
        values = [np.atleast_1d(np.asarray(value, np.float64)) for value in given]
        if len({value.shape for value in values}) != 1 or values[0].ndim != 1:
            raise ValueError(f"expected one value per expression, got {[v.shape for v in values]}")
        if not all(np.isfinite(value).all() for value in values):
            raise ValueError("the overlaps of an expression must be finite numbers")
        overlaps = Overlaps(self.det_thresh, *values)
        self.n_expressions += len(overlaps.det_iou)
        for name in self.sums:
            self.sums[name] = self.sums[name] + METRICS[name].sums(overlaps)

    def merge(self, other: "Metrics") -> None:
        """Adds the sums of another worker. Raises ValueError if its `det_thresh` differs."""
        if other.det_thresh != self.det_thresh:
            raise ValueError(f"det_thresh differs: {self.det_thresh} and {other.det_thresh}")
        self.n_expressions += other.n_expressions
        for name in self.sums:
            self.sums[name] = self.sums[name] + other.sums[name]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, which `from_dict` reads back exactly."""
        sums = {name: values.tolist() for name, values in self.sums.items()}
        return {"det_thresh": self.det_thresh, "n_expressions": self.n_expressions, "sums": sums}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Metrics":
        """Makes metrics from `to_dict`."""
        metrics = cls(values["det_thresh"])
        metrics.n_expressions = values["n_expressions"]
        metrics.sums = {name: np.array(sums) for name, sums in values["sums"].items()}
        return metrics

    def result(self) -> Result:
        """The metrics over all expressions added so far, as fractions of one.

        Returns:
            dict: n_expressions (int), then the value of each metric by name; {part: value} for a
            metric with parts.

        Raises:
            UserError: no expression has been added.
        """
        if not self.n_expressions:
            raise UserError("no expression was evaluated; is the evaluation set empty?")
        values = {name: METRICS[name].value(sums) for name, sums in self.sums.items()}
        return {"n_expressions": self.n_expressions, **values}


def detection_iou(box_a: np.ndarray, box_b: np.ndarray) -> np.ndarray:
    """IoU of boxes by the published convention, with 1e-7 in numerator and denominator.

    An overlap of exactly one half therefore exceeds 0.5.

    Args:
        box_a, box_b: (..., 4) x1, y1, x2, y2 in pixels of one frame; shapes broadcast.

    Returns:
        float64 (...).
    """
    box_a, box_b = np.asarray(box_a, np.float64), np.asarray(box_b, np.float64)
    top_left = np.maximum(box_a[..., :2], box_b[..., :2])
    bottom_right = np.minimum(box_a[..., 2:], box_b[..., 2:])
    intersection = np.prod(np.maximum(bottom_right - top_left, 0.0), axis=-1)
    union = _area(box_a) + _area(box_b) - intersection
    return (intersection + BOX_EPSILON) / (union + BOX_EPSILON)


def _area(box: np.ndarray) -> np.ndarray:
    return (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])


def mask_iou(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, int, int]:
    """IoU of two masks, with 1e-10 in numerator and denominator.

    Args:
        predicted, truth: (H, W) bool or numbers; every value but zero belongs to the object.

    Returns:
        (IoU, intersection, union), the latter two in pixels.

    Raises:
        ValueError: the masks differ in shape.
    """
    predicted, truth = np.asarray(predicted, bool), np.asarray(truth, bool)
    if predicted.shape != truth.shape:
        raise ValueError(f"masks of shapes {predicted.shape} and {truth.shape} cannot be compared")
    intersection = int(np.count_nonzero(predicted & truth))
    union = int(np.count_nonzero(predicted | truth))
    return (intersection + MASK_EPSILON) / (union + MASK_EPSILON), intersection, union


def format_table(result: Result, title: str, det_thresh: float = 0.5) -> str:
    """Formats a result as a table, in percent.

    Args:
        result: of `Metrics.result`; metrics that it does not contain are left out.
        title: first line, such as the name of the set.
        det_thresh: threshold of the box accuracy.

    Returns:
        Lines without a line break at the end.
    """
    lines = [title, f"  {plural(result['n_expressions'], 'expression')}"]
    for task in TASKS:
        rows: dict[str, tuple[float, str]] = {}  # Acc@0.75 once if that is the threshold, too.
        for metric in METRICS.values():
            if metric.task == task and metric.name in result:
                also = "".join(f" = {alias}" for alias in metric.aliases)
                for label, value in metric.labeled(result, det_thresh):
                    rows.setdefault(label, (value, also))
        for index, (label, (value, also)) in enumerate(rows.items()):
            lines.append(f"  {'' if index else task:<5}{label:<20}{100 * value:>7.2f} %{also}")
    return "\n".join(lines)


def format_summary(result: Result, det_thresh: float = 0.5) -> str:
    """Formats the metrics that have a single value in one line, in percent."""
    return ", ".join(
        f"{label} {100 * value:.2f} %"
        for metric in METRICS.values()
        if not metric.parts
        for label, value in metric.labeled(result, det_thresh)
    )


def percentages(result: Result, det_thresh: float = 0.5) -> dict[str, float]:
    """The metrics of a result in percent, by their names in tables, such as "Acc@0.5"."""
    return {
        label: 100 * value
        for metric in METRICS.values()
        if metric.name in result
        for label, value in metric.labeled(result, det_thresh)
    }
