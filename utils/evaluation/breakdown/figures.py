"""Metrics of parts of a set, and 95 % intervals of the metrics, from the measured expressions."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.evaluation.breakdown.bootstrap import RESAMPLES, SEED, ImageSums, ratio_intervals
from utils.evaluation.breakdown.groups import DIVISIONS, Division
from utils.evaluation.metrics import Metric, Overlaps, metrics_of
from utils.evaluation.results.measurement import Measurement

BREAKDOWN, INTERVALS = "breakdown", "intervals_95"
BOOTSTRAP = {"bootstrap": {"over": "images", "resamples": RESAMPLES, "seed": SEED}}
COUNT = "n_expressions"
_NUMBER_WIDTH = 24


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of all metrics for each expression of a set.

    Attributes:
        metrics: the metrics by name. Their values, k in all, are columns; a metric with parts has
            several.
        numerators, denominators: (n, k) float64.
        epsilon: (k,), added to both sums.
        images: (n,) int, number of the image of each expression, from 0.
    """

    metrics: dict[str, Metric]
    numerators: np.ndarray
    denominators: np.ndarray
    epsilon: np.ndarray
    images: np.ndarray

    @classmethod
    def of(cls, overlaps: Overlaps, images: Sequence[str], metrics: dict[str, Metric]) -> "Terms":
        """The terms of n expressions, of which the overlaps and the names of the images are given.

        Values of equal names are those of one image; images are numbered in alphabetical order.
        """
        pairs = [
            np.broadcast_arrays(*map(_columns, metric.terms(overlaps)))
            for metric in metrics.values()
        ]
        epsilon = [
            metric.epsilon for metric, pair in zip(metrics.values(), pairs, strict=True)
            for _ in range(pair[0].shape[1])
        ]  # fmt: skip
        return cls(
            metrics,
            np.concatenate([above for above, _ in pairs], axis=1),
            np.concatenate([below for _, below in pairs], axis=1),
            np.array(epsilon),
            np.unique(images, return_inverse=True)[1],
        )

    def figures_of(self, groups: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Number of expressions, metrics and intervals of groups, each (m,) int, positions."""
        sums = [self.per_image(chosen) for chosen in groups]
        bounds = ratio_intervals(sums, self.images.max() + 1, self.epsilon)
        return [self._named(chosen, pair) for chosen, pair in zip(groups, bounds, strict=True)]

    def per_image(self, chosen: np.ndarray) -> ImageSums:
        """Sums over the expressions at some positions, (m,) int, of each image that they are on."""
        chosen = chosen[np.argsort(self.images[chosen], kind="stable")]
        images, first = np.unique(self.images[chosen], return_index=True)
        return ImageSums(
            images,
            np.add.reduceat(self.numerators[chosen], first),
            np.add.reduceat(self.denominators[chosen], first),
        )

    def _named(self, chosen: np.ndarray, bounds: np.ndarray) -> dict[str, Any]:
        """The figures of the expressions at some positions, with `bounds` (2, k) of intervals."""
        totals = np.stack([t[chosen].sum(axis=0) for t in (self.numerators, self.denominators)])
        values: dict[str, Any] = {COUNT: len(chosen)}
        intervals: dict[str, Any] = {}
        start = 0
        for name, metric in self.metrics.items():
            columns = slice(start, start + max(1, len(metric.parts)))
            start = columns.stop
            sums, pairs = totals[:, columns], [_plain(pair) for pair in bounds[:, columns].T]
            values[name] = metric.value(sums if metric.parts else sums[:, 0])
            intervals[name] = (
                dict(zip(metric.parts, pairs, strict=True)) if metric.parts else pairs[0]
            )
        return values | {INTERVALS: intervals}


def figures(
    measurements: Sequence[Measurement],
    det_thresh: float,
    tasks: Collection[str] = ("REC", "RES"),
    categories: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Intervals of the metrics of a set, and metrics and intervals of its groups.

    Args:
        measurements: of all expressions of the set, at least one.
        det_thresh: IoU that a correct box exceeds.
        tasks: tasks whose metrics are computed, see `utils.evaluation.metrics.metrics_of`.
        categories: names of the categories, of
            `utils.evaluation.breakdown.categories.category_names`; None if they have only numbers.

    Returns:
        dict for result.json: "bootstrap" describes the intervals, "intervals_95" holds [low, high]
        of each metric, and "breakdown" the groups of each division that has any, with
        "n_expressions", metrics and intervals. All are fractions of one.
    """
    names = ("det_iou", "seg_iou", "intersection", "union")
    columns = ([getattr(case, name) for case in measurements] for name in names)
    overlaps = Overlaps(det_thresh, *(np.array(column, np.float64) for column in columns))
    terms = Terms.of(overlaps, [case.image for case in measurements], metrics_of(tasks))
    divided = {
        name: groups
        for name, division in DIVISIONS.items()
        if (groups := members(division, measurements, categories or {}))
    }
    everything = np.arange(len(measurements))
    chosen = [positions for groups in divided.values() for positions in groups.values()]
    whole, *parts = terms.figures_of([everything, *chosen])
    found = iter(parts)
    return {
        **BOOTSTRAP,
        INTERVALS: whole[INTERVALS],
        BREAKDOWN: {
            name: {group: next(found) for group in groups} for name, groups in divided.items()
        },
    }


def members(
    division: Division, measurements: Sequence[Measurement], categories: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """The groups of a division that have members → (m,) int, positions of the members."""
    found: dict[str, list[int]] = {}
    for position, case in enumerate(measurements):
        for group in {*division.groups_of(case, categories)}:
            found.setdefault(group, []).append(position)
    order = {group: place for place, group in enumerate(division.groups)}

    def place(group: str) -> tuple[int, int, str]:
        return order.get(group, len(order)), -len(found[group]), group

    return {group: np.array(found[group]) for group in sorted(found, key=place)}


def format_breakdown(found: dict[str, Any], det_thresh: float = 0.5) -> str:
    """Formats the intervals and groups of `figures` as a table, in percent.

    Only the metrics that have a single value are shown.

    Args:
        found: of `figures`, together with the metrics of the whole set and "n_expressions".
        det_thresh: threshold of the box accuracy.

    Returns:
        Lines without a line break at the end.
    """
    metrics = [m for m in metrics_of(("REC", "RES")).values() if m.name in found and not m.parts]
    labels = [m.label.format(det_thresh=f"{det_thresh:g}", part="") for m in metrics]
    rows: list[tuple[str, list[str]]] = [("", ["expressions", *labels])]
    rows.append(("all", _cells(found, metrics)))
    for name, groups in found[BREAKDOWN].items():
        rows.append((DIVISIONS[name].label, []))
        rows += [(f"  {group}", _cells(values, metrics)) for group, values in groups.items()]
    width = max(len(title) for title, _ in rows)
    return "\n".join(
        f"{title:{width}}{''.join(_aligned(at, cell) for at, cell in enumerate(cells))}".rstrip()
        for title, cells in rows
    )


def _aligned(at: int, cell: str) -> str:
    return f"{cell:>{_NUMBER_WIDTH if at else 13}}"


def _cells(values: dict[str, Any], metrics: Sequence[Metric]) -> list[str]:
    return [f"{values[COUNT]:,}"] + [
        f"{100 * values[m.name]:.2f}{_bounds(values[INTERVALS][m.name])}" for m in metrics
    ]


def _bounds(pair: Sequence[float | None]) -> str:
    low, high = pair
    return "" if low is None or high is None else f" [{100 * low:.2f}, {100 * high:.2f}]"


def _plain(pair: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in pair]


def _columns(values: np.ndarray) -> np.ndarray:
    """(n, parts) of (n,) or (n, parts)."""
    return np.asarray(values, np.float64).reshape(len(values), -1)
