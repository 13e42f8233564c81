"""A network ready to ground expressions: each image is encoded once, expressions in batches.

Evaluation, prediction and export share this file: `load_grounder` builds a network with trained
weights, and `Grounder` runs its three parts.
"""

import os
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from config.errors import UserError
from config.schema import Config
from data.loading.anchors import read_anchors
from model.decode import best_box, round_box
from model.mcn import build_mcn, encode_image, encode_text, ground
from model.weights import LoadReport, load_weights
from utils.prediction.run_folder import check_weights_exist


class NotFiniteError(UserError):
    """The network computes NaN or infinite values.

    Attributes:
        what: the beginning of the message, without what to do.
    """

    def __init__(self, image: str = "") -> None:
        self.what = f"{image and f'{image}: '}the network computes NaN or infinite values"
        super().__init__(
            f"{self.what}: its weights are damaged or their training has diverged; use others, or "
            "train again with a lower lr"
        )


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


class Grounder:
    """Runs a network of `model.mcn.build_mcn` part by part. Sees later weight updates.

    Args:
        model: the network.
        anchors_px: (A, 2) float, width and height.
        jit_compile: whether to compile with XLA, which compiles once per batch size.

    Attributes:
        model, anchors_px, jit_compile: as given.
        input_size: side S of the letterboxed input in pixels.
        weights_report: `model.weights.LoadReport` of the weights that `load_grounder` loaded,
            otherwise None.
    """

    def __init__(
        self, model: keras.Model, anchors_px: np.ndarray, jit_compile: bool = False
    ) -> None:
        self.model, self.anchors_px, self.jit_compile = model, anchors_px, jit_compile
        self.input_size = size = model.input["image"].shape[1]
        self.weights_report: LoadReport | None = None
        image_encoder, text_encoder = encode_image(model), encode_text(model)
        grounder = ground(model)
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
            return (box, round_box(box, size), score, probability), are_finite(outputs)

        self._encode_images, self._encode_words = encode_images, encode_words
        self._locate = locate

    def encode_images(self, images: np.ndarray) -> list[tf.Tensor]:
        """Encodes letterboxed images.

        Args:
            images: (N, S, S, 3) uint8, RGB.

        Returns:
            The features of `model.mcn.IMAGE_FEATURES`, each (N, h, w, C), for `locate`.
        """
        return self._encode_images(images)

    def encode_words(self, words: np.ndarray) -> list[tf.Tensor]:
        """Encodes expressions.

        Args:
            words: (M, T, D) float32 word vectors or (M, T) int32 word pieces.

        Returns:
            The text features of the network, each (M, ...), for `locate`.
        """
        return self._encode_words(words)

    def locate(
        self,
        features: Sequence[tf.Tensor],
        rows: Sequence[int] | np.ndarray,
        text_features: Sequence[tf.Tensor | np.ndarray],
        names: Sequence[str] = (),
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Grounds K expressions, each in one of N images.

        Args:
            features: of `encode_images`.
            rows: (K,) int, the index in 0..N-1 of the image of each expression.
            text_features: of `encode_words`, each (K, ...).
            names: what the error message calls the N images.

        Returns:
            (box_xyxy_px (K, 4) float32, the same rounded (K, 4) int32, score (K,) float32 in 0..1,
            mask probability (K, S/8, S/8) float32). Boxes are in pixels of the letterboxed input.

        Raises:
            NotFiniteError: an output of the network is NaN or infinite.
        """
        rows = np.asarray(rows, np.int32)
        outputs, finite = self._locate(list(features), rows, list(text_features))
        faulty = rows[~finite.numpy()]
        if faulty.size:
            raise NotFiniteError(names[faulty[0]] if names else "")
        return tuple(output.numpy() for output in outputs)


def load_grounder(
    config: Config,
    weights: str | os.PathLike | None = None,
    *,
    crop_taps: bool | None = None,
    **config_changes: object,
) -> Grounder:
    """Builds the network of a config and loads its weights.

    Args:
        config: `config.schema.Config`.
        weights: file for `model.weights.load_weights`; None for config.evaluate_model.
        crop_taps: of `model.mcn.build_mcn`.
        **config_changes: settings that replace those of the config, such as
            precision="float32".

    Returns:
        `Grounder` whose `weights_report` lists what was loaded.

    Raises:
        ConfigError, DataError, WeightsError, OSError: the settings, anchors or weights cannot be
            used.
    """
    if config_changes:
        config = config.replace(**config_changes)
    weights = config.evaluate_model if weights is None else weights
    check_weights_exist(weights)
    anchors_px = read_anchors(config.anchors_file)
    model = build_mcn(config, crop_taps)
    report = load_weights(model, weights)
    grounder = Grounder(model, anchors_px, bool(config.jit_compile))
    grounder.weights_report = report
    return grounder


def _specs(tensors):
    return [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
