"""Measures of gRefCOCO: N-acc, T-acc, gIoU, cIoU and Pr@t, and the choice of `min_score`.

They are those of ReLA's evaluation, which also counts the mask that a system predicts beside "no
target" in the union of cIoU, if there is a target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.evaluation.breakdown.bootstrap import ratio_intervals
from utils.evaluation.breakdown.figures import BOOTSTRAP, INTERVALS, Terms
from utils.evaluation.metrics import MASK_EPSILON

PRECISION_THRESHOLDS = (0.7, 0.8, 0.9)
# In the order of `_terms`.
LABELS = {"g_iou": "gIoU", "c_iou": "cIoU", "n_acc": "N-acc", "t_acc": "T-acc", "pr": "Pr@{part}"}
# Added to both sums: a set of empty masks alone has a cIoU.
_EPSILON = np.array([0.0, MASK_EPSILON, 0.0, 0.0, *(0.0 for _ in PRECISION_THRESHOLDS)])


@dataclass(frozen=True, eq=False)
class Samples:
    """The predictions for n expressions, compared with the truth.

    Attributes:
        has_target: (n,) bool, whether the image contains what the expression refers to.
        found: (n,) bool, whether the system predicts a target, if its score suffices.
        score: (n,) confidence, of any range; infinite for a target that is predicted whatever the
            threshold.
        intersection, union: (n,) pixels of the predicted and the true mask.
        images: (n,) names of the images.
    """

    has_target: np.ndarray
    found: np.ndarray
    score: np.ndarray
    intersection: np.ndarray
    union: np.ndarray
    images: np.ndarray

    def predicted(self, min_score: float | None) -> np.ndarray:
        """(n,) bool, whether a target is predicted if scores below `min_score` mean none."""
        return self.found if min_score is None else self.found & (self.score >= min_score)

    @property
    def iou(self) -> np.ndarray:
        """(n,) float64, IoU of the masks where a target is predicted; 0 without one."""
        union = np.maximum(self.union, 1)
        return np.where(self.has_target, self.intersection / union, 0.0)


def generalized_metrics(samples: Samples, min_score: float | None = None) -> dict[str, Any]:
    """The measures of a set, as fractions of one.

    Args:
        samples: at least one.
        min_score: predictions with lower scores count as those of no target; None for no threshold.

    Returns:
        dict: "n_expressions" and "n_no_target", the numbers of all expressions and of those without
        a target; "g_iou", the mean IoU, where an expression without a target counts 1 if none is
        predicted and 0 otherwise; "c_iou", the sum of intersections over the sum of unions;
        "n_acc", the share of expressions without a target for which none is predicted; "t_acc",
        that of the others for which one is; and "pr", the share of those others whose IoU reaches
        each threshold. n_acc, or t_acc and pr, are None if the set has no such expressions.
    """
    above, below = (terms.sum(axis=0) + _EPSILON for terms in _terms(samples, min_score))
    pairs = zip(above.tolist(), below.tolist(), strict=True)
    counts = {"n_expressions": len(samples.found), "n_no_target": int((~samples.has_target).sum())}
    return counts | _by_name([part / total if total else None for part, total in pairs])


def generalized_intervals(samples: Samples, min_score: float | None = None) -> dict[str, Any]:
    """95 % intervals of the measures, of a bootstrap over images with the threshold as it is.

    Args:
        samples, min_score: as those of `generalized_metrics`.

    Returns:
        dict for result.json as that of `utils.evaluation.breakdown.figures.figures`: "bootstrap"
        and "intervals_95", [low, high] of each measure, or of each part of it; both are None if
        fewer than two images have such expressions.
    """
    numbers = np.unique(samples.images, return_inverse=True)[1]
    terms = Terms({}, *_terms(samples, min_score), _EPSILON, numbers)
    sums = terms.per_image(np.arange(len(numbers)))
    [bounds] = ratio_intervals([sums], len(sums.images), _EPSILON)  # (2, measures)
    pairs = [[None if np.isnan(bound) else float(bound) for bound in pair] for pair in bounds.T]
    return {**BOOTSTRAP, INTERVALS: _by_name(pairs)}


def _terms(samples: Samples, min_score: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of all measures, float64 (n, measures) each."""
    predicted, has_target = samples.predicted(min_score), samples.has_target
    right, iou = predicted == has_target, np.where(predicted, samples.iou, ~has_target)
    reached = [has_target & (iou >= threshold) for threshold in PRECISION_THRESHOLDS]
    pairs = [
        (iou, np.ones(len(iou))),
        (
            np.where(predicted, samples.intersection, 0),
            np.where(predicted | has_target, samples.union, 0),
        ),
        (right & ~has_target, ~has_target),
        (right & has_target, has_target),
        *((one, has_target) for one in reached),
    ]
    above, below = (np.column_stack(terms).astype(np.float64) for terms in zip(*pairs, strict=True))
    return above, below


def _by_name(values: Sequence[Any]) -> dict[str, Any]:
    """One value of each measure by its name in `LABELS`; "pr" has one per threshold."""
    *names, parted = LABELS
    parts = [f"{threshold:g}" for threshold in PRECISION_THRESHOLDS]
    of_parts = dict(zip(parts, values[len(names) :], strict=True))
    return {**dict(zip(names, values, strict=False)), parted: of_parts}


def best_min_score(samples: Samples) -> float | None:
    """The `min_score` with the highest gIoU; the smallest of equally good ones.

    Only the order of scores counts, so the candidates are None, the middle between each two
    neighbors among the finite scores of the set, and the next number above all of them.
    """
    counts = samples.found & np.isfinite(samples.score)
    order = np.argsort(samples.score[counts], kind="stable")
    in_order = samples.score[counts][order]
    scores = np.unique(in_order)
    candidates = [-np.inf, *((scores[:-1] + scores[1:]) / 2), *np.nextafter(scores[-1:], np.inf)]
    # What each expression adds to gIoU if its target is predicted, less what it adds otherwise.
    gain = np.where(samples.has_target, samples.iou, -1.0)[counts]
    lost = np.concatenate([[0.0], np.cumsum(gain[order])])
    best = int(np.argmin(lost[np.searchsorted(in_order, candidates, side="left")]))
    return float(candidates[best]) if best else None


def threshold_text(min_score: float | None) -> str:
    """A threshold for people, with all of its digits."""
    return "no min_score" if min_score is None else f"min_score {float(min_score)!r}"


def format_generalized(result: Mapping[str, Any], title: str, min_score: float | None) -> str:
    """Formats the measures of `generalized_metrics` as a table, in percent.

    Args:
        result: the measures.
        title: first line, such as the name of the set.
        min_score: with which they were computed.

    Returns:
        Lines without a line break at the end.
    """
    counts = f"{result['n_expressions']:,} expressions, {result['n_no_target']:,} without a target"
    lines = [title, f"  {counts}; {threshold_text(min_score)}"]
    for name, label in LABELS.items():
        value = result[name]
        for part, number in value.items() if isinstance(value, dict) else [("", value)]:
            figure = "      –" if number is None else f"{100 * number:>7.2f} %"
            lines.append(f"  {label.format(part=part):<20}{figure}")
    return "\n".join(lines)
