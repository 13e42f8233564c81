"""Adaptive soft non-located suppression (ASNLS), section 3.4 of the paper.

It boosts probabilities inside the predicted box and suppresses those outside, by factors that
depend on the confidence of the box: the less sure the box, the stronger both are.
"""

from collections.abc import Sequence

import numpy as np


def asnls(
    probability: np.ndarray, boxes_xyxy_px: np.ndarray, scores: Sequence[float] | np.ndarray
) -> np.ndarray:
    """ASNLS: × (2 − score) inside the box, its last row and column included, × score outside.

    Args:
        probability: (S, S, K) float, one map per expression, in the letterboxed input.
        boxes_xyxy_px: (K, 4) int, whole pixels of the same frame.
        scores: (K,) confidences of the boxes in 0..1.

    Returns:
        (S, S, K) float32; values inside a box may exceed 1.
    """
    scores = np.asarray(scores, np.float32)
    return _weighted(probability, boxes_xyxy_px, inside=2.0 - scores, outside=scores)


def hard_suppression(probability: np.ndarray, boxes_xyxy_px: np.ndarray) -> np.ndarray:
    """Hard suppression: the map inside the box, 0 outside. Arguments as for `asnls`."""
    count = len(boxes_xyxy_px)
    return _weighted(
        probability,
        boxes_xyxy_px,
        inside=np.ones(count, np.float32),
        outside=np.zeros(count, np.float32),
    )


def _weighted(
    probability: np.ndarray, boxes_xyxy_px: np.ndarray, inside: np.ndarray, outside: np.ndarray
) -> np.ndarray:
    weighted = probability * outside
    for k, (left, top, right, bottom) in enumerate(np.asarray(boxes_xyxy_px)):
        box = np.s_[max(top, 0) : bottom + 1, max(left, 0) : right + 1, k]
        weighted[box] = probability[box] * inside[k]
    return weighted
