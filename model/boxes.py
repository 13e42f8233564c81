"""Box formats and overlap, on tensors. Names state the format: xyxy or cxcywh, px or norm."""

import tensorflow as tf
from keras import ops


def cxcywh_to_xyxy(box_cxcywh: tf.Tensor) -> tf.Tensor:
    """(..., 4) center and size → (..., 4) left, top, right, bottom, in the same units."""
    center, size = box_cxcywh[..., :2], box_cxcywh[..., 2:4]
    return ops.concatenate([center - size / 2.0, center + size / 2.0], axis=-1)


def iou_xyxy(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Intersection over union of boxes (..., 4) in the same unit, with broadcasting.

    Boxes are continuous areas; the IoU of two empty boxes is 0.
    """
    low = ops.maximum(a[..., :2], b[..., :2])
    high = ops.minimum(a[..., 2:4], b[..., 2:4])
    intersection = _area(high - low)
    union = _area(a[..., 2:4] - a[..., :2]) + _area(b[..., 2:4] - b[..., :2]) - intersection
    return ops.divide_no_nan(intersection, union)


def _area(size: tf.Tensor) -> tf.Tensor:
    size = ops.maximum(size, 0.0)
    return size[..., 0] * size[..., 1]
