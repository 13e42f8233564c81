"""The exported functions: the network with its pre- and postprocessing, in TensorFlow.

whole           uint8 image of any size, words ──► box, score, mask of that image
image_encoder   letterboxed uint8 image ──► image features
grounder        image features of one image, words of N expressions ──► boxes, scores, masks
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from model.decode import best_box, round_box
from model.mcn import IMAGE_FEATURES, encode_image, encode_text, ground
from utils.export.letterbox import (
    fit_in_graph,
    letterbox_in_graph,
    place_mask_in_graph,
    unletterbox_box_in_graph,
)
from utils.prediction.engines.tensorflow_engine import are_finite
from utils.prediction.grounder import Grounder

NO_RESULT = "NaN if the network computes NaN or infinite values"


@dataclass(frozen=True)
class Exportable:
    """A function ready for a converter.

    Attributes:
        function: tf.function with one input signature, whose tensors have names; returns a dict.
        variables: the variables that the function reads.
        about: name of an input or output → its description.
    """

    function: tf.types.experimental.PolymorphicFunction
    variables: list[tf.Variable]
    about: dict[str, str]


def build_exportables(grounder: Grounder, use_nls: bool) -> dict[str, Exportable]:
    """Builds the functions that can be exported.

    The network can only be used for inference afterwards: its recurrence has no dropout.

    Args:
        grounder: `Grounder` of a network in float32.
        use_nls: whether ASNLS weighs the mask of "whole".

    Returns:
        `Exportable` by name: "whole", "image_encoder" and "grounder".
    """
    _remove_recurrent_dropout(grounder.model)
    network = _Network(grounder.model, grounder.anchors_px)
    return {
        "whole": _whole(network, use_nls),
        "image_encoder": _image_encoder(network),
        "grounder": _grounder(network),
    }


class _Network:
    """The three parts of a network, and what their inputs look like."""

    def __init__(self, model: keras.Model, anchors_px: np.ndarray) -> None:
        self.model, self.anchors_px = model, anchors_px
        self.image_encoder, self.text_encoder = encode_image(model), encode_text(model)
        self.heads = ground(model)
        self.size = model.input["image"].shape[1]
        self.words = model.input["words"]

    def encode(self, square):
        """(S, S, 3) float32 in 0..255 → image features of one image."""
        return self.image_encoder(square[None] / 255.0, training=False)

    def locate(self, image_features, words):
        """Image features and words of N pairs → (N, 4) boxes, (N,) scores, (N, S/8, S/8) masks.

        The score of a pair for which the network computes NaN or infinite values is NaN.
        """
        # Keras returns a list of one output as a bare tensor.
        text_features = tf.nest.flatten(self.text_encoder(words, training=False))
        outputs = self.heads([*image_features, *text_features], training=False)
        box, score = best_box(outputs["boxes"], self.anchors_px, self.size)
        score = tf.where(are_finite(outputs), score, np.nan)
        return box, score, tf.sigmoid(outputs["mask"][..., 0])

    @property
    def about_words(self):
        if self.words.dtype == "int32":
            return f"({self.words.shape[1]},) word-piece ids, padded with 0"
        steps, dimension = self.words.shape[1:]
        return f"({steps}, {dimension}) word vectors, zeros for unknown words and padding"


def _exported(*signature):
    return tf.function(input_signature=signature, autograph=False)


def _whole(network, use_nls):
    size, words = network.size, network.words

    @_exported(
        tf.TensorSpec((None, None, 3), tf.uint8, "image"),
        tf.TensorSpec(words.shape[1:], words.dtype, "words"),
    )
    def whole(image, words):
        shape = tf.shape(image)
        geometry = fit_in_graph(shape[0], shape[1], size)
        features = network.encode(letterbox_in_graph(image, geometry))
        box, score, probability = (part[0] for part in network.locate(features, words[None]))
        mask = place_mask_in_graph(probability, round_box(box, size), score, geometry, use_nls)
        return {
            "box_xyxy_px": _clipped(unletterbox_box_in_graph(box, geometry), shape),
            "score": score,
            "mask_score": mask,
        }

    value_range = "0..2, since ASNLS has weighed the probabilities" if use_nls else "0..1"
    about = {
        "image": "(h, w, 3) RGB in 0..255",
        "words": network.about_words,
        "box_xyxy_px": "left, top, right, bottom in pixels of the image, clipped to it but not "
        "rounded",
        "score": f"confidence of the box in 0..1; {NO_RESULT}",
        "mask_score": f"(h, w) in {value_range}; a pixel belongs to the mask where it "
        "exceeds segment_thresh",
    }
    return Exportable(whole, _variables(network.model), about)


def _clipped(box, image_shape):
    """Clips a box, which can reach into the gray border of the letterbox, to the image."""
    height, width = tf.cast(image_shape[0], tf.float32), tf.cast(image_shape[1], tf.float32)
    return tf.clip_by_value(box, 0.0, tf.stack([width, height, width, height]))


def _image_encoder(network):
    size = network.size

    @_exported(tf.TensorSpec((size, size, 3), tf.uint8, "image"))
    def image_encoder(image):
        features = network.encode(tf.cast(image, tf.float32))
        return dict(zip(IMAGE_FEATURES, features, strict=True))

    about = {"image": f"RGB in 0..255, letterboxed to {size}×{size}", **_about_features()}
    return Exportable(image_encoder, _variables(network.image_encoder), about)


def _grounder(network):
    words = network.words
    features = zip(network.image_encoder.outputs, IMAGE_FEATURES, strict=True)

    @_exported(
        *(tf.TensorSpec((1, *x.shape[1:]), tf.float32, name) for x, name in features),
        tf.TensorSpec(words.shape, words.dtype, "words"),
    )
    def grounder(*inputs):
        *image_features, words = inputs
        count = tf.shape(words)[0]
        image_features = [tf.tile(feature, (count, 1, 1, 1)) for feature in image_features]
        box, score, probability = network.locate(image_features, words)
        return {"box_xyxy_px": box, "score": score, "mask_probability": probability}

    about = {
        **_about_features(),
        "words": f"of N expressions, each {network.about_words}",
        "box_xyxy_px": "left, top, right, bottom in pixels of the letterboxed image",
        "score": f"confidence of each box in 0..1; {NO_RESULT}",
        "mask_probability": "in 0..1, at an eighth of the letterboxed size",
    }
    return Exportable(grounder, _variables(network.text_encoder) + _variables(network.heads), about)


def _about_features():
    return dict.fromkeys(IMAGE_FEATURES, "image feature, from image_encoder to grounder")


def _variables(model):
    """The TensorFlow variables of a Keras model."""
    return [variable.value for variable in model.variables]


def _remove_recurrent_dropout(model):
    """Sets the dropout of recurrent layers to zero.

    Keras draws their dropout masks in inference too, so that the exported graph would draw random
    numbers and write the state of their generator at each call.
    """
    for layer in model.layers:
        both = isinstance(layer, keras.layers.Bidirectional)
        for recurrent in (layer.forward_layer, layer.backward_layer) if both else (layer,):
            if isinstance(recurrent, keras.layers.RNN):
                recurrent.cell.dropout = 0.0
