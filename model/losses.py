"""The training loss, section 3.4 of the paper: a sum of terms registered by name.

A new term is one function decorated with `@loss_term("name")`. `mcn_losses` computes every
registered term; training sums, logs and plots whatever it returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

from model.boxes import cxcywh_to_xyxy, iou_xyxy
from model.decode import decode_grid

IGNORE_IOU = 0.5
SMOOTH_L1_SIGMA = 3.0
ENERGY_EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class LossInputs:
    """What a loss term may use.

    Attributes:
        outputs: dict of `build_mcn`: "boxes" (N, g, g, A·5), "mask" (N, h, w, 1) logits and
            "co_energy" (N, 1), float32.
        targets: (N, g, g, A, 5) of `model.targets.box_targets`.
        mask_stride8: (N, h, w, 1) ground-truth mask, 0 or 1.
        anchors_px: (A, 2), width and height in pixels of the input.
        input_size: side of the input in pixels.
        mask_weight: factor on the mask term (config key seg_loss_weight).
        detection_weight: factor on the terms of the box and its confidence (det_loss_weight).
        cem_weight: factor on the term of the co-energy (cem_loss_weight).
    """

    outputs: dict[str, tf.Tensor]
    targets: tf.Tensor
    mask_stride8: tf.Tensor
    anchors_px: np.ndarray
    input_size: int
    mask_weight: float = 1.0
    detection_weight: float = 1.0
    cem_weight: float = 1.0

    @cached_property
    def raw_boxes(self) -> tf.Tensor:
        """(N, g, g, A, 5): tx, ty, tw, th, confidence logit."""
        return tf.reshape(self.outputs["boxes"], tf.shape(self.targets))

    @cached_property
    def object_mask(self) -> tf.Tensor:
        """(N, g, g, A, 1): 1 for the cell and anchor assigned to the ground-truth box."""
        return self.targets[..., 4:]

    @cached_property
    def box_weight(self) -> tf.Tensor:
        """(N, g, g, A, 1): the object mask × (2 − w·h), so that small objects count more."""
        return self.object_mask * (2.0 - self.targets[..., 2:3] * self.targets[..., 3:4])


LossTerm = Callable[[LossInputs], tf.Tensor]
LOSS_TERMS: dict[str, LossTerm] = {}


def loss_term(name: str) -> Callable[[LossTerm], LossTerm]:
    """Registers a function `LossInputs` → float32 scalar, the sum of a term over the batch.

    Raises:
        ValueError: the name is taken.
    """

    def register(term: LossTerm) -> LossTerm:
        if name in LOSS_TERMS:
            raise ValueError(f"loss term {name!r} is registered already")
        LOSS_TERMS[name] = term
        return term

    return register


def mcn_losses(
    outputs: dict[str, tf.Tensor],
    targets: tf.Tensor,
    mask_stride8: tf.Tensor,
    anchors_px: np.ndarray,
    input_size: int,
    mask_weight: float,
    batch_size: tf.Tensor | None = None,
    detection_weight: float = 1.0,
    cem_weight: float = 1.0,
) -> dict[str, tf.Tensor]:
    """Every registered term, divided by the batch size; weight decay is `l2_penalty`.

    Args:
        outputs, targets, mask_stride8, anchors_px, input_size, mask_weight: see `LossInputs`.
        batch_size: what sums are divided by; N by default. With several replicas, the size of
            the global batch.
        detection_weight, cem_weight: see `LossInputs`.

    Returns:
        dict name → float32 scalar.
    """
    n = tf.cast(tf.shape(targets)[0] if batch_size is None else batch_size, tf.float32)
    inputs = LossInputs(
        outputs, targets, mask_stride8, anchors_px, input_size, mask_weight, detection_weight,
        cem_weight,
    )  # fmt: skip
    return {name: term(inputs) / n for name, term in LOSS_TERMS.items()}


@loss_term("xy")
def xy_loss(inputs: LossInputs) -> tf.Tensor:
    """Binary cross-entropy of the offset of the box center within its cell."""
    # Computed in whole pixels, where a center on the border of a cell is exact.
    stride = inputs.input_size // inputs.targets.shape[1]
    center_px = tf.round(inputs.targets[..., :2] * inputs.input_size)
    cell_offset = tf.math.floormod(center_px, stride) / stride
    xy = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=cell_offset, logits=inputs.raw_boxes[..., :2]
    )
    return inputs.detection_weight * tf.reduce_sum(inputs.box_weight * xy)


@loss_term("wh")
def wh_loss(inputs: LossInputs) -> tf.Tensor:
    """Smooth L1 on the logarithm of the box size relative to its anchor, × 0.5."""
    anchors = tf.cast(inputs.anchors_px, tf.float32)
    # Without an object the size is 0 and its logarithm infinite.
    relative = tf.where(
        inputs.object_mask > 0, inputs.targets[..., 2:4] * inputs.input_size / anchors, 1.0
    )
    wh = smooth_l1(tf.math.log(relative) - inputs.raw_boxes[..., 2:4])
    return 0.5 * inputs.detection_weight * tf.reduce_sum(inputs.box_weight * wh)


@loss_term("confidence")
def confidence_loss(inputs: LossInputs) -> tf.Tensor:
    """Binary cross-entropy of the confidence, for the object and for the background."""
    is_object = inputs.targets[..., 4]
    confidence = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=is_object, logits=inputs.raw_boxes[..., 4]
    )
    background = (1.0 - is_object) * background_mask(
        inputs.raw_boxes, inputs.targets, inputs.anchors_px, inputs.input_size
    )
    return inputs.detection_weight * tf.reduce_sum((is_object + background) * confidence)


@loss_term("mask")
def mask_loss(inputs: LossInputs) -> tf.Tensor:
    """Binary cross-entropy of the mask, summed over the pixels, × `mask_weight`."""
    pixels = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(inputs.mask_stride8, tf.float32), logits=inputs.outputs["mask"]
    )
    return inputs.mask_weight * tf.reduce_sum(pixels)


@loss_term("cem")
def cem_loss(inputs: LossInputs) -> tf.Tensor:
    """Consistency Energy Maximization: −log of the co-energy."""
    energy = tf.math.log(inputs.outputs["co_energy"] + ENERGY_EPSILON)
    return -inputs.cem_weight * tf.reduce_sum(energy)


def background_mask(
    raw_boxes: tf.Tensor, targets: tf.Tensor, anchors_px: np.ndarray, input_size: int
) -> tf.Tensor:
    """Which predictions count as background in the confidence loss.

    Predictions that overlap the ground-truth box without being assigned to it are ignored by
    the confidence loss.

    Returns:
        (N, g, g, A) float32: 1 where the IoU of the decoded box with the ground-truth box is
        below 0.5, else 0.
    """
    boxes, _ = decode_grid(raw_boxes, anchors_px, input_size)
    # One box per sample, everything else is zero.
    true_box = tf.reduce_sum(targets[..., :4], axis=(1, 2, 3), keepdims=True)
    overlap = iou_xyxy(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(true_box))
    return tf.cast(overlap < IGNORE_IOU, tf.float32)


def smooth_l1(x: tf.Tensor, sigma: float = SMOOTH_L1_SIGMA) -> tf.Tensor:
    """σ²x²/2 for |x| < 1/σ², |x| − 1/(2σ²) beyond; elementwise."""
    size, bend = tf.abs(x), 1.0 / sigma**2
    return tf.where(size < bend, 0.5 * sigma**2 * tf.square(x), size - 0.5 * bend)


def l2_penalty(variables: Sequence[keras.Variable]) -> tf.Tensor:
    """Weight decay of the variables that have a regularizer: Σ 5e-4·Σw², a float32 scalar."""
    return tf.add_n([v.regularizer(v) for v in variables if v.regularizer] or [tf.constant(0.0)])
