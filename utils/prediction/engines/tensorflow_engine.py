"""The parts of a network in TensorFlow: the engine of trainings, and of everything by default."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from model.decode import best_box, round_box
from model.mcn import encode_image, encode_text, ground
from utils.prediction.engines.parts import Parts


def tensorflow_parts(
    model: keras.Model, anchors_px: np.ndarray, jit_compile: bool = False
) -> Parts:
    """Makes TensorFlow functions of a network, which see later updates of its weights.

    Args:
        model: of `model.mcn.build_mcn`.
        anchors_px: (A, 2) float, width and height.
        jit_compile: whether to compile with XLA, which compiles once per batch size.

    Returns:
        `Parts`, whose functions are `tf.function`s with one input signature each.
    """
    size = model.input["image"].shape[1]
    image_encoder, text_encoder, grounder = encode_image(model), encode_text(model), ground(model)
    words = model.input["words"]

    def compiled(*signature):
        return tf.function(input_signature=signature, jit_compile=jit_compile)

    @compiled(tf.TensorSpec((None, size, size, 3), tf.uint8))
    def encode_images(images):
        return image_encoder(tf.cast(images, tf.float32) / 255.0, training=False)

    @compiled(tf.TensorSpec(words.shape, words.dtype))
    def encode_words(words):
        # Keras returns a list of one output as a bare tensor.
        return tf.nest.flatten(text_encoder(words, training=False))

    @compiled(
        _specs(image_encoder.outputs),
        tf.TensorSpec((None,), tf.int32),
        _specs(text_encoder.outputs),
    )
    def locate(features, rows, text_features):
        image_features = [tf.gather(feature, rows) for feature in features]
        outputs = grounder([*image_features, *text_features], training=False)
        box, score = best_box(outputs["boxes"], anchors_px, size)
        probability = tf.sigmoid(outputs["mask"][..., 0])
        return box, round_box(box, size), score, probability, are_finite(outputs)

    return Parts(encode_images, encode_words, locate)


def are_finite(outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Whether the network computes finite values for each of K pairs.

    Tells it by the logits: the sigmoid of infinity is one, and infinite boxes are clipped.

    Args:
        outputs: of `model.mcn.ground`.

    Returns:
        (K,) bool.
    """
    # The convolutions of TFLite clip infinity to the largest number.
    boxes, mask = (
        tf.reduce_all(tf.abs(logits) < logits.dtype.max, axis=(1, 2, 3))
        for logits in (outputs["boxes"], outputs["mask"])
    )
    return boxes & mask


def _specs(tensors):
    return [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
