"""Box formats and overlap, on tensors. Formats stand in the names: xyxy or cxcywh, px or norm."""

from keras import ops


def cxcywh_to_xyxy(box_cxcywh):
    """(..., 4) centre and size → (..., 4) left, top, right, bottom, in the same units."""
    centre, size = box_cxcywh[..., :2], box_cxcywh[..., 2:4]
    return ops.concatenate([centre - size / 2.0, centre + size / 2.0], axis=-1)


def iou_xyxy(a, b):
    """Intersection over union of boxes (..., 4) in one unit, broadcast against each other.

    Boxes are taken as continuous areas; the overlap of two empty ones is 0.
    """
    low = ops.maximum(a[..., :2], b[..., :2])
    high = ops.minimum(a[..., 2:4], b[..., 2:4])
    intersection = _area(high - low)
    union = _area(a[..., 2:4] - a[..., :2]) + _area(b[..., 2:4] - b[..., :2]) - intersection
    return ops.divide_no_nan(intersection, union)


def _area(size):
    size = ops.maximum(size, 0.0)
    return size[..., 0] * size[..., 1]
