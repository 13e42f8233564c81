"""Differences of two dumps: of the metrics, with intervals of a paired bootstrap, and of single
expressions.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError, shown
from config.json_text import parse_json, read_lines
from data.preparation.json_fields import EntryError, four_numbers
from data.preparation.wording import plural
from utils.evaluation.breakdown.bootstrap import FEWEST_IMAGES, percentiles, resampled_ratios
from utils.evaluation.breakdown.figures import Terms
from utils.evaluation.breakdown.frames import in_one_frame
from utils.evaluation.metrics import (
    CONSISTENCY_THRESHOLD,
    Metric,
    Overlaps,
    metrics_of,
)
from utils.evaluation.results.measurement import is_dumped

# Image, mask-id, expression, and how many lines before have the same ones.
Key = tuple[str, int | None, str, int]
_IOUS = {"REC": "det_iou", "RES": "seg_iou"}
_PIXELS = ("intersection", "union")
_BOXES = ("box_xyxy", "box_xyxy_input", "true_box_xyxy")


@dataclass(frozen=True, eq=False)
class Pairs:
    """The expressions that two dumps have in common, in the order of the first one.

    Attributes:
        first, second: the lines of both dumps, each n.
        tasks: "REC" and "RES" if both dumps have the IoU of boxes and of masks.
        with_pixels: whether both have the pixels of the masks, which overall IoU needs.
        notes: how the lines were made comparable, for people.
        only_first, only_second: the expressions of one dump alone, for people.
    """

    first: Sequence[dict[str, Any]]
    second: Sequence[dict[str, Any]]
    tasks: tuple[str, ...]
    with_pixels: bool
    notes: Sequence[str]
    only_first: Sequence[str]
    only_second: Sequence[str]

    def change(self, index: int) -> float:
        """By how much the IoU of box and mask of an expression differ, in all."""
        a, b = self.first[index], self.second[index]
        return float(sum(abs(b[_IOUS[task]] - a[_IOUS[task]]) for task in self.tasks))


@dataclass(frozen=True)
class Difference:
    """How much a metric of the second dump exceeds that of the first, as fractions of one.

    Attributes:
        label: of the metric.
        first, second: its values.
        low, high: 95 % interval of the difference; NaN if all expressions are of one image.
    """

    label: str
    first: float
    second: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def read_dump(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a dump of test.py.

    Raises:
        UserError: it is none, or a line of it is damaged.
        OSError: it cannot be read.
    """
    rows = []
    for number, line in read_lines(path, UserError):
        row = parse_json(line, path, number, UserError)
        if not is_dumped(row):
            raise UserError(
                f"{path}:{number}: is not a line of a dump; write one with test.py --dump, which "
                "--predictions makes of those of other systems"
            )
        _check(f"{path}:{number}", row)
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: holds no expression; write a dump with test.py --dump")
    return rows


def _check(place: str, row: dict[str, Any]) -> None:
    """Raises `UserError` if a value of a line that is compared has another type."""
    for key in ("image", "expression"):
        if not isinstance(row[key], str):
            raise UserError(f"{place}: key {key!r} is {shown(row[key])}, must be a text")
    if type(row.get("ref_id", 0)) is not int:
        raise UserError(f"{place}: key 'ref_id' is {shown(row['ref_id'])}, must be a mask-id")
    for key in _BOXES:
        if row.get(key) is not None:
            try:
                four_numbers(key, row[key], "x1, y1, x2, y2")
            except EntryError as error:
                raise UserError(f"{place}: key {error}") from None
    for key in (*_IOUS.values(), *_PIXELS):
        value = row.get(key)
        if value is not None and (
            type(value) not in (int, float) or not 0 <= value <= (1 if "iou" in key else 2**53)
        ):
            raise UserError(f"{place}: key {key!r} is {shown(value)}, must be an overlap")


def pair(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> Pairs:
    """Pairs the lines of two dumps by image, mask-id and expression.

    Dumps of earlier versions have no mask-ids; then, equal expressions of an image are paired in
    their order.

    A network's boxes are compared in pixels of its input, those of other systems in pixels of the
    image. If one dump is of the former and the other of the latter, the IoU of all boxes is
    computed in pixels of the image.

    Raises:
        UserError: they have no expression in common, no IoU of the same task, or different true
            boxes of an expression.
    """
    with_ids = all("ref_id" in row for row in (*first, *second))
    a, b = (_by_key(rows, with_ids) for rows in (first, second))
    common = [key for key in a if key in b]
    if not common:
        raise UserError(
            f"the dumps have no expression in common: the first one begins with "
            f"{_name(next(iter(a)))}, the second one with {_name(next(iter(b)))}; compare dumps of "
            "the same split"
        )
    _check_truth(a, b, common)
    ours, theirs, notes = in_one_frame([a[key] for key in common], [b[key] for key in common])
    both = [*ours, *theirs]
    tasks = tuple(task for task, key in _IOUS.items() if all(row[key] is not None for row in both))
    if not tasks:
        raise UserError("one dump has boxes and the other one masks: nothing can be compared")
    return Pairs(
        ours,
        theirs,
        tasks,
        all(row.get(key) is not None for row in both for key in _PIXELS),
        notes,
        [_name(key) for key in a if key not in b],
        [_name(key) for key in b if key not in a],
    )


def _check_truth(
    a: Mapping[Key, dict[str, Any]], b: Mapping[Key, dict[str, Any]], common: Sequence[Key]
) -> None:
    """Raises `UserError` if the true box of an expression is another one in the other dump."""
    boxes = {key: (a[key].get("true_box_xyxy"), b[key].get("true_box_xyxy")) for key in common}
    other = [key for key, pair in boxes.items() if None not in pair and pair[0] != pair[1]]
    if other:
        first, second = map(shown, boxes[other[0]])
        raise UserError(
            f"the true boxes of {plural(len(other), 'expression')} differ, such as that of "
            f"{_name(other[0])}: {first} in the first dump, {second} in the second one; compare "
            "dumps of the same annotations"
        )


def _by_key(rows: Sequence[dict[str, Any]], with_ids: bool) -> dict[Key, dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {}
    seen: Counter[tuple[str, int | None, str]] = Counter()
    for row in rows:
        key = (row["image"], row["ref_id"] if with_ids else None, row["expression"])
        found[(*key, seen[key])] = row
        seen[key] += 1
    return found


def _name(key: Key) -> str:
    return f"{key[0]}: {shown(key[2])}"


def differences(pairs: Pairs, det_thresh: float) -> list[Difference]:
    """The differences of all metrics that both dumps have.

    The intervals are those of a paired bootstrap: both metrics are computed on the same resampled
    images, see `utils.evaluation.breakdown.bootstrap`.

    Args:
        pairs: the lines of both dumps.
        det_thresh: IoU that a correct box exceeds.
    """
    overlaps = [_overlaps(pairs, rows, det_thresh) for rows in (pairs.first, pairs.second)]
    metrics = {
        name: metric
        for name, metric in metrics_of(pairs.tasks).items()
        if _has_terms(metric, overlaps[0])
    }
    images, everything = [row["image"] for row in pairs.first], np.arange(len(pairs.first))
    terms = [Terms.of(of_dump, images, metrics) for of_dump in overlaps]
    sums, epsilon = [of_dump.per_image(everything) for of_dump in terms], terms[0].epsilon
    values = [
        (of_dump.numerators.sum(axis=0) + epsilon) / (of_dump.denominators.sum(axis=0) + epsilon)
        for of_dump in sums
    ]
    resampled = resampled_ratios(sums, len(sums[0].images), epsilon)
    bounds = percentiles(resampled[1] - resampled[0])
    if len(sums[0].images) < FEWEST_IMAGES:
        bounds[:] = np.nan
    low, high = bounds
    labels = [label for metric in metrics.values() for label in _labels(metric, det_thresh)]
    found: dict[str, Difference] = {}
    for label, *numbers in zip(labels, *values, low, high, strict=True):
        found.setdefault(label, Difference(label, *map(float, numbers)))
    return list(found.values())


class _PixelsNeededError(Exception):
    """A metric needs the pixels of masks, which a dump does not have."""


class _OverlapsWithoutPixels(Overlaps):
    def __getattribute__(self, name: str) -> Any:
        if name in _PIXELS:
            raise _PixelsNeededError
        return super().__getattribute__(name)


def _overlaps(pairs: Pairs, rows: Sequence[dict[str, Any]], det_thresh: float) -> Overlaps:
    """Overlaps of a dump, with 0 for a task that was not compared."""
    columns = [
        np.array([row.get(key) or 0 for row in rows], np.float64)
        for key in (*_IOUS.values(), *_PIXELS)
    ]
    return (Overlaps if pairs.with_pixels else _OverlapsWithoutPixels)(det_thresh, *columns)


def _has_terms(metric: Metric, overlaps: Overlaps) -> bool:
    """Whether the overlaps hold what a metric is made from."""
    try:
        metric.terms(overlaps)
    except _PixelsNeededError:
        return False
    return True


def _labels(metric: Metric, det_thresh: float) -> list[str]:
    return [
        metric.label.format(det_thresh=f"{det_thresh:g}", part=part)
        for part in metric.parts or ("",)
    ]


def changed(pairs: Pairs, task: str, det_thresh: float) -> tuple[list[int], list[int]]:
    """The expressions whose box or mask became correct, and those for which it became wrong.

    Args:
        pairs: the lines of both dumps.
        task: "REC" for boxes; "RES" for masks, which are correct above an IoU of one half.
        det_thresh: IoU that a correct box exceeds.

    Returns:
        Positions in `pairs`, those whose IoU changed most first.
    """
    key, thresh = _IOUS[task], det_thresh if task == "REC" else CONSISTENCY_THRESHOLD
    before, after = (np.array([row[key] for row in rows]) for rows in (pairs.first, pairs.second))
    order = np.argsort(-np.abs(after - before), kind="stable")
    gained = (after > thresh) & (before <= thresh)
    lost = (after <= thresh) & (before > thresh)
    return [int(i) for i in order if gained[i]], [int(i) for i in order if lost[i]]


def format_differences(found: Sequence[Difference]) -> str:
    """Formats differences as a table, in percent; `*` marks those whose interval excludes zero."""
    lines = [f"{'':<20}{'A':>8}{'B':>8}{'B - A':>9}   95 % interval"]
    for one in found:
        bounds = f"[{100 * one.low:+.2f}, {100 * one.high:+.2f}]{' *' if one.is_clear else ''}"
        lines.append(
            f"{one.label:<20}{100 * one.first:>8.2f}{100 * one.second:>8.2f}"
            f"{100 * (one.second - one.first):>+9.2f}   {'-' if math.isnan(one.low) else bounds}"
        )
    return "\n".join(lines)


def format_change(pairs: Pairs, index: int) -> str:
    """One expression with its IoU in both dumps."""
    a, b = pairs.first[index], pairs.second[index]
    names = {"REC": "box", "RES": "mask"}
    ious = ", ".join(
        f"{names[task]} IoU {a[_IOUS[task]]:.2f} -> {b[_IOUS[task]]:.2f}" for task in pairs.tasks
    )
    return f"{a['image']}: {shown(a['expression'])}: {ious}"
