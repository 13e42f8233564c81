"""What an evaluation reports: box accuracy, mask IoU, precision at IoU thresholds, inconsistency.

Measures of single expressions are functions; `Metrics` adds them up over a data set. Only sums
are kept, so memory does not grow with the set and no mean of batch means is ever taken.
"""

import numpy as np

PRECISION_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
BOX_EPSILON = 1e-7
MASK_EPSILON = 1e-10
CONSISTENCY_THRESHOLD = 0.5


def detection_iou(box_a, box_b):
    """IoU of boxes by the published convention, 1e-7 in numerator and denominator.

    An overlap of exactly one half thereby counts as more than one half.

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


def _area(box):
    return (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])


def mask_iou(predicted, truth):
    """IoU of two masks with 1e-10 in numerator and denominator.

    Args:
        predicted, truth: (H, W) bool or numbers; whatever is not zero is object.

    Returns:
        (iou float, intersection int, union int), the latter two in pixels.

    Raises:
        ValueError: the masks differ in shape.
    """
    predicted, truth = np.asarray(predicted, bool), np.asarray(truth, bool)
    if predicted.shape != truth.shape:
        raise ValueError(f"masks of shapes {predicted.shape} and {truth.shape} do not compare")
    intersection = int(np.count_nonzero(predicted & truth))
    union = int(np.count_nonzero(predicted | truth))
    return (intersection + MASK_EPSILON) / (union + MASK_EPSILON), intersection, union


class Metrics:
    """Adds up the measures of expressions.

    Attributes:
        det_thresh: IoU above which, strictly, a box is right.
        sums: float64 (6 + 10,), all that is kept: expressions, right boxes, Σ mask IoU,
            Σ intersection, Σ union, inconsistent expressions, masks above each of
            `PRECISION_THRESHOLDS`. The sums of several workers add up.
    """

    def __init__(self, det_thresh=0.5):
        self.det_thresh = float(det_thresh)
        self.sums = np.zeros(6 + len(PRECISION_THRESHOLDS), np.float64)

    def update(self, det_iou, seg_iou, intersection, union):
        """Adds expressions.

        Args:
            det_iou: number or (n,), IoU of each box by `detection_iou`.
            seg_iou, intersection, union: numbers or (n,), as `mask_iou` gives them.

        Raises:
            ValueError: the arguments differ in length or a measure is not a finite number.
        """
        given = (det_iou, seg_iou, intersection, union)
        values = [np.atleast_1d(np.asarray(value, np.float64)) for value in given]
        if len({value.shape for value in values}) != 1 or values[0].ndim != 1:
            raise ValueError(f"one value an expression expected, got {[v.shape for v in values]}")
        if not all(np.isfinite(value).all() for value in values):
            raise ValueError("a measure of an expression is not a finite number")
        det_iou, seg_iou, intersection, union = values
        box_right = det_iou > self.det_thresh
        mask_right = seg_iou > CONSISTENCY_THRESHOLD
        above = seg_iou[:, None] > np.asarray(PRECISION_THRESHOLDS)  # (n, 10)
        self.sums[0] += len(det_iou)
        self.sums[1] += box_right.sum()
        self.sums[2] += seg_iou.sum()
        self.sums[3] += intersection.sum()
        self.sums[4] += union.sum()
        self.sums[5] += (box_right != mask_right).sum()
        self.sums[6:] += above.sum(axis=0)

    def merge(self, other):
        """Adds what another worker has measured. Raises ValueError: det_thresh differs."""
        if other.det_thresh != self.det_thresh:
            raise ValueError(f"det_thresh differs: {self.det_thresh} here, {other.det_thresh}")
        self.sums += other.sums

    def result(self):
        """The measures over everything added so far, as fractions of one.

        Returns:
            dict: n_expressions (int), det_acc, seg_iou (mean over expressions), overall_iou
            (Σ intersections / Σ unions), seg_prec {"0.5": share of masks with IoU > 0.5, …},
            ie_score (share of expressions where exactly one of box and mask is right).

        Raises:
            ValueError: nothing was added.
        """
        expressions, boxes, iou, intersection, union, inconsistent = self.sums[:6].tolist()
        if not expressions:
            raise ValueError("no expression was evaluated; is the evaluation set empty?")
        return {
            "n_expressions": int(expressions),
            "det_acc": boxes / expressions,
            "seg_iou": iou / expressions,
            "overall_iou": (intersection + MASK_EPSILON) / (union + MASK_EPSILON),
            "seg_prec": {
                f"{threshold:g}": count / expressions
                for threshold, count in zip(
                    PRECISION_THRESHOLDS, self.sums[6:].tolist(), strict=True
                )
            },
            "ie_score": inconsistent / expressions,
        }


def format_table(result, title, det_thresh=0.5):
    """A result as lines of text, in percent.

    Args:
        result: dict of `Metrics.result`.
        title: first line, such as the name of the set.
        det_thresh: threshold the boxes were judged by.

    Returns:
        str without a line break at its end.
    """
    rows = [
        ("REC", f"Acc@{det_thresh:g}", result["det_acc"]),
        ("RES", "mean IoU", result["seg_iou"]),
        ("RES", "overall IoU", result["overall_iou"]),
        *(("RES", f"Prec@{key}", share) for key, share in result["seg_prec"].items()),
        ("both", "inconsistency (IE)", result["ie_score"]),
    ]
    lines = [title, f"  {result['n_expressions']:,} expressions"]
    before = None
    for task, name, share in rows:
        lines.append(f"  {task if task != before else '':<5}{name:<20}{100 * share:>7.2f} %")
        before = task
    return "\n".join(lines)
