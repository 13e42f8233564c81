"""Raw boxes to pixels, section 3.4 of the paper: the most confident cell and anchor wins."""

import numpy as np
import tensorflow as tf

from model.boxes import cxcywh_to_xyxy

# Of a box in anchors: 10^13 of them. More than 88.7 overflows float32; readers of results take
# coordinates up to 2^53.
MAX_LOG_SIZE = 30.0


def decode_grid(
    raw_boxes: tf.Tensor, anchors_px: np.ndarray, input_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes the box of every cell and anchor.

    Args:
        raw_boxes: (N, g, g, A·5) or (N, g, g, A, 5) float32: tx, ty, tw, th, confidence logit.
        anchors_px: (A, 2) float, width and height.
        input_size: side of the input in pixels.

    Returns:
        (box_cxcywh_norm (N, g, g, A, 4), confidence (N, g, g, A)), relative to the input.
    """
    grid, count = raw_boxes.shape[1], len(anchors_px)
    raw = tf.reshape(raw_boxes, (-1, grid, grid, count, 5))
    grid_range = tf.range(grid, dtype=tf.float32)
    columns, rows = tf.meshgrid(grid_range, grid_range)
    cells = tf.stack([columns, rows], axis=-1)[:, :, None, :]  # (g, g, 1, 2)
    center = (tf.sigmoid(raw[..., :2]) + cells) / grid
    # Boxes of that many times the input are clipped to it; without a limit, they are infinite.
    logs = tf.minimum(raw[..., 2:4], MAX_LOG_SIZE)
    size = tf.exp(logs) * tf.cast(anchors_px, tf.float32) / input_size
    return tf.concat([center, size], axis=-1), tf.sigmoid(raw[..., 4])


def best_box(
    raw_boxes: tf.Tensor, anchors_px: np.ndarray, input_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The most confident box of each sample; ties go to the first row, column, anchor.

    Args:
        raw_boxes, anchors_px, input_size: see `decode_grid`.

    Returns:
        (box_xyxy_px (N, 4) float32 in the letterboxed input, unrounded, score (N,) in 0..1).
    """
    boxes, confidence = decode_grid(raw_boxes, anchors_px, input_size)
    confidence = tf.reshape(confidence, (-1, confidence.shape[1] ** 2 * confidence.shape[3]))
    # The argmax of NaN is no index in TFLite.
    ranked = tf.where(confidence >= 0.0, confidence, 0.0)
    best = tf.argmax(ranked, axis=-1, output_type=tf.int32)
    boxes = tf.reshape(boxes, (-1, confidence.shape[1], 4))
    box = cxcywh_to_xyxy(tf.gather(boxes, best, batch_dims=1)) * input_size
    return box, tf.gather(confidence, best, batch_dims=1)


def round_box(box_xyxy_px: tf.Tensor, input_size: int) -> tf.Tensor:
    """Rounds to whole pixels by floor(v + 0.5) and clips to 0..input_size.

    Args:
        box_xyxy_px: (..., 4) float, in the letterboxed input.
        input_size: side of the input in pixels.

    Returns:
        (..., 4) int32.
    """
    rounded = tf.floor(box_xyxy_px + 0.5)
    low, high = tf.maximum(rounded[..., :2], 0.0), tf.minimum(rounded[..., 2:], float(input_size))
    return tf.cast(tf.concat([low, high], axis=-1), tf.int32)
