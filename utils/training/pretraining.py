"""Pretraining of a visual backbone as a detector of all objects, as the published ones were."""

import math
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from config.errors import UserError
from config.files import check_free_space
from config.schema import Config
from data.preparation.detection import (
    BOX_CHANNELS,
    STRIDES,
    DetectionSet,
    detection_batches,
    read_instances,
)
from data.preparation.wording import plural
from data.support.datasets import unwrapped_errors
from model.losses import smooth_l1
from model.mcn import build_mcn, visual_backbone
from utils.environment import device_line, parameters_line

OBJECT_WEIGHT = 5.0  # Few cells contain the center of an object.
WARMUP_STEPS = 100
CLIP_NORM = 10.0


def pretrain(
    config: Config,
    instances: str | os.PathLike,
    leave_out: Collection[str] = (),
    epochs: int = 20,
    output: str | os.PathLike | None = None,
) -> keras.Model:
    """Trains the backbone of a config to detect every object of an instances.json.

    A 1×1 convolution on each of Fv1, Fv2 and Fv3 (strides 32, 16 and 8) predicts for each cell
    whether it contains the center of an object, the box and the classes. These heads are discarded
    afterwards.

    Args:
        config: the settings; those of the backbone, input_size, image_path, batch_size, lr,
            precision, seed and workers are used.
        instances: COCO-style instances.json.
        leave_out: names of images that must not be seen.
        epochs: passes over the images.
        output: file that the caller will write the backbone to; the disk must have room for it
            before training starts.

    Returns:
        keras.Model, image → [Fv1, Fv2, Fv3].

    Raises:
        NoSpaceError: the disk of `output` has no room for the backbone.
        UserError, OSError: the annotations or images cannot be used, or weights become infinite.
    """
    print(device_line())
    objects = read_instances(instances, leave_out)
    count = plural(sum(map(len, objects.boxes)), "object")
    print(f"data: {count} in {plural(len(objects.images), 'image')}")
    if leave_out:
        print(f"{objects.left_out:,} of {len(set(leave_out)):,} listed images left out")
    backbone = visual_backbone(build_mcn(config.replace(free_body=0)))
    if output is not None:
        needed = sum(value.size * value.itemsize for value in backbone.get_weights())
        check_free_space(Path(output).parent, needed, str(output), "free some space first")
    steps = math.ceil(len(objects.images) / config.batch_size)
    detector = _detector(backbone, objects, config, epochs)
    print(parameters_line(detector))
    batches = detection_batches(
        objects,
        config.image_path,
        config.input_size,
        config.batch_size,
        config.workers,
        config.seed,
    )
    with unwrapped_errors():
        detector.fit(
            batches,
            epochs=epochs,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=2,
            callbacks=[_FiniteWeights()],
        )
    return backbone


def _detector(
    backbone: keras.Model, objects: DetectionSet, config: Config, epochs: int
) -> keras.Model:
    """The backbone with its heads, compiled for a training of `epochs`."""
    outputs = [
        keras.layers.Conv2D(
            objects.channels,
            1,
            kernel_initializer=keras.initializers.GlorotUniform(seed=config.seed + stride),
            name=f"stride_{stride}",
            dtype="float32",
        )(feature)
        for stride, feature in zip(STRIDES, backbone.outputs, strict=True)
    ]
    detector = keras.Model(backbone.input, tuple(outputs))
    steps = math.ceil(len(objects.images) / config.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps * epochs, warmup_target=config.lr, warmup_steps=min(WARMUP_STEPS, steps)
    )
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=CLIP_NORM)
    if config.precision == "mixed_float16":
        # Keras does so itself only if the global precision is the network's.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    detector.compile(optimizer, loss=tuple(detection_loss(objects.groups) for _ in outputs))
    return detector


class _FiniteWeights(keras.callbacks.Callback):
    """Ends a training whose weights are no longer finite, which would go on without effect."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if not all(np.isfinite(weights).all() for weights in self.model.get_weights()):
            raise UserError(
                f"epoch {epoch + 1}: weights are infinite or not a number; use a lower lr"
            )


def detection_loss(groups: Sequence[int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Makes the loss of one grid.

    Args:
        groups: number of classes of each group, see `data.preparation.detection.DetectionSet`.

    Returns:
        Function of ground truth and prediction, both (N, g, g, 5 + Σ groups), to (N,).
    """

    def loss(truth, prediction):
        is_object = truth[..., 0]
        confidence = tf.nn.sigmoid_cross_entropy_with_logits(
            labels=is_object, logits=prediction[..., 0]
        )
        confidence *= 1.0 + (OBJECT_WEIGHT - 1.0) * is_object
        box = tf.reduce_sum(
            smooth_l1(truth[..., BOX_CHANNELS] - prediction[..., BOX_CHANNELS]), axis=-1
        )
        classes = tf.zeros_like(box)
        start = 5
        for count in groups:
            group = slice(start, start + count)
            # An unknown class is a row of zeros, which adds nothing.
            classes += tf.nn.softmax_cross_entropy_with_logits(
                labels=truth[..., group], logits=prediction[..., group]
            )
            start += count
        return tf.reduce_sum(confidence + is_object * (box + classes), axis=(1, 2))

    return loss
