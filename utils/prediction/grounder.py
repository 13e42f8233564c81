"""A network ready to ground expressions: each image is encoded once, expressions in batches.

Evaluation, prediction and export share this file: `load_grounder` builds a network with trained
weights, and `Grounder` runs its three parts.
"""

import os
import sys
from collections.abc import Sequence

import keras
import numpy as np

from config.errors import UserError
from config.schema import Config
from data.loading.anchors import read_anchors
from model.mcn import build_mcn
from model.weights import LoadReport, load_weights
from utils.environment import precision_note
from utils.prediction.engines.parts import Array, Parts
from utils.prediction.engines.registry import check_engine, onnx_engine
from utils.prediction.engines.tensorflow_engine import tensorflow_parts
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


class Grounder:
    """Runs a network of `model.mcn.build_mcn` part by part. Sees later weight updates.

    Args:
        model: the network.
        anchors_px: (A, 2) float, width and height.
        jit_compile: whether to compile with XLA, which compiles once per batch size.
        parts: what runs the parts of the network; None for TensorFlow. Others do not see later
            weight updates.

    Attributes:
        model, anchors_px, jit_compile: as given.
        input_size: side S of the letterboxed input in pixels.
        weights_report: `model.weights.LoadReport` of the weights that `load_grounder` loaded,
            otherwise None.
    """

    def __init__(
        self,
        model: keras.Model,
        anchors_px: np.ndarray,
        jit_compile: bool = False,
        parts: Parts | None = None,
    ) -> None:
        self.model, self.anchors_px, self.jit_compile = model, anchors_px, jit_compile
        self.input_size = model.input["image"].shape[1]
        self.weights_report: LoadReport | None = None
        self._parts = parts or tensorflow_parts(model, anchors_px, jit_compile)

    def encode_images(self, images: np.ndarray) -> Sequence[Array]:
        """Encodes letterboxed images.

        Args:
            images: (N, S, S, 3) uint8, RGB.

        Returns:
            The features of `model.mcn.IMAGE_FEATURES`, each (N, h, w, C), for `locate`.
        """
        return self._parts.encode_images(images)

    def encode_words(self, words: np.ndarray) -> Sequence[Array]:
        """Encodes expressions.

        Args:
            words: (M, T, D) float32 word vectors or (M, T) int32 word pieces.

        Returns:
            The text features of the network, each (M, ...), for `locate`.
        """
        return self._parts.encode_words(words)

    def locate(
        self,
        features: Sequence[Array],
        rows: Sequence[int] | np.ndarray,
        text_features: Sequence[Array],
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
        found = self._parts.locate(list(features), rows, list(text_features))
        box, rounded, score, probability, finite = (np.asarray(output) for output in found)
        faulty = rows[~finite]
        if faulty.size:
            raise NotFiniteError(names[faulty[0]] if names else "")
        return box, rounded, score, probability


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
    check_engine(config)
    anchors_px = read_anchors(config.anchors_file)
    if config.engine == "tensorflow":
        if note := precision_note(config.precision):
            print(note, file=sys.stderr)
        model, parts = build_mcn(config, crop_taps), None
        report = load_weights(model, weights)
    else:
        # The engine rounds by itself, and computes all products of dilated convolutions faster.
        model = build_mcn(config.replace(precision="float32"), crop_taps=False)
        report = load_weights(model, weights)
        parts = onnx_engine(config, weights, lambda: tensorflow_parts(model, anchors_px))
    grounder = Grounder(model, anchors_px, bool(config.jit_compile), parts)
    grounder.weights_report = report
    return grounder
