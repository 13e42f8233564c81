"""The detection target, section 3.2 of the paper.

Assigns each ground-truth box to a grid cell and an anchor and encodes its regression target.
"""

import numpy as np
import tensorflow as tf

STRIDE = 32


def box_targets(
    box_xyxy_px: tf.Tensor | np.ndarray, anchors_px: np.ndarray, input_size: int
) -> tf.Tensor:
    """The grid that raw boxes are compared with.

    The center, rounded down to whole pixels, selects the cell. The anchor whose width and height
    overlap those of the box most is assigned to it.

    Args:
        box_xyxy_px: (N, 4) float, in the letterboxed input.
        anchors_px: (A, 2) float, width and height.
        input_size: side of the input in pixels.

    Returns:
        (N, g, g, A, 5) float32, g = input_size / 32: (cx, cy, w, h) relative to the input and 1
        at one place of each sample, 0 elsewhere. A box without width has no target.
    """
    grid = input_size // STRIDE
    box = tf.cast(box_xyxy_px, tf.float32)
    anchors = tf.cast(anchors_px, tf.float32)
    size_px = box[:, 2:] - box[:, :2]
    center_px = tf.floor((box[:, :2] + box[:, 2:]) / 2.0)
    values = [center_px / input_size, size_px / input_size, tf.ones_like(box[:, :1])]
    values = tf.concat(values, axis=-1)

    overlap = tf.reduce_prod(tf.minimum(size_px[:, None], anchors[None]), axis=-1)  # (N, A)
    areas = tf.reduce_prod(size_px, axis=-1)[:, None] + tf.reduce_prod(anchors, axis=-1) - overlap
    anchor = tf.argmax(overlap / areas, axis=-1, output_type=tf.int32)

    # Computed in whole pixels: relative coordinates could round a center on the border of a cell.
    cell = tf.cast(center_px // STRIDE, tf.int32)  # (N, 2): column, row
    place = (cell[:, 1] * grid + cell[:, 0]) * len(anchors_px) + anchor
    valid = tf.cast(size_px[:, :1] > 0, tf.float32)
    object_mask = tf.one_hot(place, grid * grid * len(anchors_px)) * valid  # (N, g·g·A)
    target = object_mask[..., None] * values[:, None, :]
    return tf.reshape(target, (-1, grid, grid, len(anchors_px), 5))
