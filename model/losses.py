"""Every term of the loss, section 3.4, by name: sums over a batch divided by its size."""

import tensorflow as tf

from model.boxes import cxcywh_to_xyxy, iou_xyxy
from model.decode import decode_grid

IGNORE_IOU = 0.5
SMOOTH_L1_SIGMA = 3.0
ENERGY_EPSILON = 1e-6
TERMS = ("xy", "wh", "confidence", "mask", "cem")


def mcn_losses(
    outputs, targets, mask_stride8, anchors_px, input_size, mask_weight, batch_size=None
):
    """The terms whose sum is minimised; weight decay is `l2_penalty`.

    Args:
        outputs: dict of `build_mcn`: "boxes" (N, g, g, A·5), "mask" (N, h, w, 1) logits and
            "co_energy" (N, 1), float32.
        targets: (N, g, g, A, 5) of `model.targets.box_targets`.
        mask_stride8: (N, h, w, 1) true mask, 0 or 1.
        anchors_px: (A, 2), width and height.
        input_size: side of the input in pixels.
        mask_weight: factor on the mask's term (seg_loss_weight).
        batch_size: what sums are divided by; default N. With several replicas, the size of the
            global batch.

    Returns:
        dict of float32 scalars: xy, wh, confidence, mask (weighted), cem.
    """
    n = tf.cast(tf.shape(targets)[0] if batch_size is None else batch_size, tf.float32)
    terms = detection_losses(outputs["boxes"], targets, anchors_px, input_size)
    truth = tf.cast(mask_stride8, tf.float32)
    pixels = tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=outputs["mask"])
    terms["mask"] = mask_weight * tf.reduce_sum(pixels)
    terms["cem"] = -tf.reduce_sum(tf.math.log(outputs["co_energy"] + ENERGY_EPSILON))
    return {name: terms[name] / n for name in TERMS}


def detection_losses(raw_boxes, targets, anchors_px, input_size):
    """xy, wh and confidence, summed over batch and grid. Arguments as of `mcn_losses`."""
    raw = tf.reshape(raw_boxes, tf.shape(targets))
    anchors = tf.cast(anchors_px, tf.float32)
    is_object = targets[..., 4]
    hot = is_object[..., None]

    # Back in whole pixels, where a centre on a cell's border is exact.
    stride = input_size // targets.shape[1]
    cell_offset = tf.math.floormod(tf.round(targets[..., :2] * input_size), stride) / stride
    # Elsewhere the logarithm of a size of zero would be infinite.
    relative = tf.where(hot > 0, targets[..., 2:4] * input_size / anchors, 1.0)
    # Small objects count more.
    weight = hot * (2.0 - targets[..., 2:3] * targets[..., 3:4])

    xy = tf.nn.sigmoid_cross_entropy_with_logits(labels=cell_offset, logits=raw[..., :2])
    wh = smooth_l1(tf.math.log(relative) - raw[..., 2:4])
    confidence = tf.nn.sigmoid_cross_entropy_with_logits(labels=is_object, logits=raw[..., 4])
    background = (1.0 - is_object) * background_mask(raw, targets, anchors_px, input_size)
    return {
        "xy": tf.reduce_sum(weight * xy),
        "wh": 0.5 * tf.reduce_sum(weight * wh),
        "confidence": tf.reduce_sum((is_object + background) * confidence),
    }


def background_mask(raw_boxes, targets, anchors_px, input_size):
    """1 where the decoded box overlaps the true box by IoU < 0.5, else 0: (N, g, g, A) float32.

    Boxes that overlap more without answering for the object are neither right nor wrong.
    """
    boxes, _ = decode_grid(raw_boxes, anchors_px, input_size)
    true_box = tf.reduce_sum(targets[..., :4], axis=(1, 2, 3), keepdims=True)  # one a sample
    overlap = iou_xyxy(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(true_box))
    return tf.cast(overlap < IGNORE_IOU, tf.float32)


def smooth_l1(x, sigma=SMOOTH_L1_SIGMA):
    """σ²x²/2 for |x| < 1/σ², |x| − 1/(2σ²) beyond."""
    size, bend = tf.abs(x), 1.0 / sigma**2
    return tf.where(size < bend, 0.5 * sigma**2 * tf.square(x), size - 0.5 * bend)


def l2_penalty(variables):
    """Weight decay of the variables that carry a regulariser: Σ 5e-4·Σw², a float32 scalar."""
    return tf.add_n([v.regularizer(v) for v in variables if v.regularizer] or [tf.constant(0.0)])
