"""Adaptive soft non-located suppression, section 3.4: the box weighs the mask.

Pixels inside the predicted box gain and those outside lose, the more so the surer the box.
"""

import numpy as np


def asnls(probability, boxes_xyxy_px, scores):
    """ASNLS: inside the box (its last row and column included) × (2 − score), outside × score.

    Args:
        probability: (S, S, K) float, one map an expression, in the letterboxed input.
        boxes_xyxy_px: (K, 4) int, whole pixels of the same frame.
        scores: (K,) confidences of the boxes in 0..1.

    Returns:
        (S, S, K) float32; values inside a box may pass 1.
    """
    scores = np.asarray(scores, np.float32)
    return _weighed(probability, boxes_xyxy_px, inside=2.0 - scores, outside=scores)


def hard_suppression(probability, boxes_xyxy_px):
    """Hard suppression: the map inside the box, 0 outside. Arguments as of `asnls`."""
    count = len(boxes_xyxy_px)
    return _weighed(
        probability,
        boxes_xyxy_px,
        inside=np.ones(count, np.float32),
        outside=np.zeros(count, np.float32),
    )


def _weighed(probability, boxes_xyxy_px, inside, outside):
    weighed = probability * outside
    for k, (left, top, right, bottom) in enumerate(np.asarray(boxes_xyxy_px)):
        box = np.s_[max(top, 0) : bottom + 1, max(left, 0) : right + 1, k]
        weighed[box] = probability[box] * inside[k]
    return weighed
