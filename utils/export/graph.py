"""What exported files compute: the network with everything around it, as TensorFlow functions.

whole           uint8 image of any size, words ──► box, score, mask over that image
image_encoder   letterboxed uint8 image ──► features
grounder        features of one image, words of N expressions ──► boxes, scores, maps
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from model.decode import best_box, round_box
from model.mcn import IMAGE_FEATURES, encode_image, encode_text, ground
from utils.export.letterbox import (
    fit_in_graph,
    letterbox_in_graph,
    place_mask_in_graph,
    unletterbox_box_in_graph,
)


@dataclass(frozen=True)
class Exportable:
    """A function ready for a converter.

    Attributes:
        function: tf.function whose one signature takes tensors by name and gives a dict.
        variables: list of tf.Variable that it reads.
        about: name → what the input or output is, for people.
    """

    function: object
    variables: list
    about: dict


def build_exportables(model, anchors_px, use_nls):
    """The functions that can be exported.

    The network is for inference from here on: its recurrence is unrolled, since its number of
    steps is fixed and loops are what other runtimes handle worst, and has no dropout.

    Args:
        model: network of `build_mcn` in float32.
        anchors_px: (A, 2) float, width and height.
        use_nls: whether ASNLS weighs the mask of "whole".

    Returns:
        dict part → Exportable: "whole", "image_encoder", "grounder".
    """
    _simplify_recurrence(model)
    size, words = model.input["image"].shape[1], model.input["words"]
    encoder, text, heads = encode_image(model), encode_text(model), ground(model)
    words_spec = tf.TensorSpec(words.shape[1:], words.dtype, "words")
    about_words = _about_words(words)

    def function(*signature):
        return tf.function(input_signature=signature, autograph=False)

    def encode(square):
        return encoder(square[None] / 255.0, training=False)

    def locate(features, words):
        outputs = heads([*features, text(words, training=False)], training=False)
        box, score = best_box(outputs["boxes"], anchors_px, size)
        return box, score, tf.sigmoid(outputs["mask"][..., 0])

    @function(tf.TensorSpec((None, None, 3), tf.uint8, "image"), words_spec)
    def whole(image, words):
        shape = tf.shape(image)
        geometry = fit_in_graph(shape[0], shape[1], size)
        features = encode(letterbox_in_graph(image, geometry))
        box, score, probability = (part[0] for part in locate(features, words[None]))
        mask = place_mask_in_graph(probability, round_box(box, size), score, geometry, use_nls)
        return {
            "box_xyxy_px": unletterbox_box_in_graph(box, geometry),
            "score": score,
            "mask_probability": mask,
        }

    @function(tf.TensorSpec((size, size, 3), tf.uint8, "image"))
    def image_encoder(image):
        features = encode(tf.cast(image, tf.float32))
        return dict(zip(IMAGE_FEATURES, features, strict=True))

    of_image = [
        tf.TensorSpec((1, *output.shape[1:]), tf.float32, name)
        for output, name in zip(encoder.outputs, IMAGE_FEATURES, strict=True)
    ]
    words_of_many = tf.TensorSpec(words.shape, words.dtype, "words")

    @function(*of_image, words_of_many)
    def grounder(visual, merge_2_side, merge_3_side, words):
        count = tf.shape(words)[0]
        features = [tf.tile(f, (count, 1, 1, 1)) for f in (visual, merge_2_side, merge_3_side)]
        box, score, probability = locate(features, words)
        return {"box_xyxy_px": box, "score": score, "mask_probability": probability}

    about_features = {name: "feature for grounder" for name in IMAGE_FEATURES}
    return {
        "whole": Exportable(
            whole,
            _variables(model),
            {
                "image": "RGB 0..255, (h, w, 3)",
                "words": about_words,
                "box_xyxy_px": "left, top, right, bottom in pixels of the image, neither rounded "
                "nor clipped",
                "score": "confidence of the box, 0..1",
                "mask_probability": "(h, w); "
                + ("ASNLS applied, so up to 2" if use_nls else "0..1")
                + "; mask where it exceeds segment_thresh",
            },
        ),
        "image_encoder": Exportable(
            image_encoder,
            _variables(encoder),
            {"image": f"RGB 0..255, letterboxed to {size}×{size}", **about_features},
        ),
        "grounder": Exportable(
            grounder,
            _variables(text) + _variables(heads),
            {
                **about_features,
                "words": f"of N expressions, each {about_words}",
                "box_xyxy_px": "in pixels of the letterboxed image",
                "score": "confidence of each box, 0..1",
                "mask_probability": "at an eighth of the letterboxed size, 0..1",
            },
        ),
    }


def _about_words(words):
    if words.dtype == "int32":
        return f"ids of {words.shape[1]} word pieces, 0 where the expression has ended"
    steps, dimension = words.shape[1:]
    return (
        f"({steps}, {dimension}) word vectors, zeros for unknown words and where the expression "
        "has ended"
    )


def _variables(model):
    """The TensorFlow variables behind a Keras model's."""
    return [variable.value for variable in model.variables]


def _simplify_recurrence(model):
    """Unrolls the recurrence and takes out its dropout, whose random state inference writes too."""
    for layer in model.layers:
        if layer.name == "text_rnn":
            both = isinstance(layer, keras.layers.Bidirectional)
            for recurrent in [layer.forward_layer, layer.backward_layer] if both else [layer]:
                recurrent.unroll = True
                recurrent.cell.dropout = 0.0
