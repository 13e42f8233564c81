"""Measures of gRefCOCO: N-acc, T-acc, gIoU, cIoU and Pr@t, and the choice of `min_score`.

They are those of ReLA's evaluation, which also counts the mask that a system predicts beside "no
target" in the union of cIoU, if there is a target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.evaluation.metrics import MASK_EPSILON

PRECISION_THRESHOLDS = (0.7, 0.8, 0.9)
LABELS = {"g_iou": "gIoU", "c_iou": "cIoU", "n_acc": "N-acc", "t_acc": "T-acc", "pr": "Pr@{part}"}


@dataclass(frozen=True, eq=False)
class Samples:
    """The predictions for n expressions, compared with the truth.

    Attributes:
        has_target: (n,) bool, whether the image contains what the expression refers to.
        found: (n,) bool, whether the system predicts a target, if its score suffices.
        score: (n,) confidence, of any range; infinite for a target that is predicted whatever the
            threshold.
        intersection, union: (n,) pixels of the predicted and the true mask.
    """

    has_target: np.ndarray
    found: np.ndarray
    score: np.ndarray
    intersection: np.ndarray
    union: np.ndarray

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
    predicted, has_target = samples.predicted(min_score), samples.has_target
    iou = np.where(predicted, samples.iou, ~has_target)
    intersection = np.where(predicted, samples.intersection, 0).sum(dtype=np.float64)
    union = np.where(predicted | has_target, samples.union, 0).sum(dtype=np.float64)
    return {
        "n_expressions": len(has_target),
        "n_no_target": int((~has_target).sum()),
        "g_iou": float(iou.mean()),
        "c_iou": float((intersection + MASK_EPSILON) / (union + MASK_EPSILON)),
        "n_acc": _mean(~predicted[~has_target]),
        "t_acc": _mean(predicted[has_target]),
        "pr": {f"{t:g}": _mean(iou[has_target] >= t) for t in PRECISION_THRESHOLDS},
    }


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


def _mean(values: np.ndarray | Sequence[bool]) -> float | None:
    """The share of true values; None if there are none at all."""
    return float(np.mean(values)) if len(values) else None
