"""Grounding of expressions in one's own photographs, from Python.

predictor = Predictor.from_config("config/config.json", "log/refcoco/best.weights.h5")
predictor.set_image("photo.jpg")
for found in predictor.predict(["the woman on the left", "red umbrella"]):
    print(found.expression, found.box_xyxy, found.score, found.mask.sum())
"""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from config.schema import Config, load_config
from data.loading.anchors import read_anchors
from data.loading.letterbox import Letterbox, letterbox_image, unletterbox_box
from model.mcn import build_mcn
from model.weights import load_weights
from utils.prediction.attention import AttentionReader
from utils.prediction.expressions import ExpressionReader
from utils.prediction.grounder import Grounder, place_masks
from utils.prediction.photographs import MAX_PIXELS, read_photograph


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network found for one expression.

    Attributes:
        expression: the words.
        box_xyxy: (4,) float64 left, top, right, bottom in pixels of the photograph, inside it.
        score: confidence of the box in 0..1.
        mask: (h, w) bool, at the size of the photograph.
        seconds: time for this expression, without the photograph's.
        unknown_words: words that have no vector and count as none.
        unread_words: words beyond word_len, which the network does not see.
        segment_thresh, use_nls: what the mask was made with.
        geometry: `Letterbox` of the photograph.
        box_xyxy_input: (4,) int32, the rounded box in the letterboxed input.
        probability_input: (S/8, S/8) float32 in 0..1, the mask as the network gives it.
    """

    expression: str
    box_xyxy: np.ndarray
    score: float
    mask: np.ndarray
    seconds: float
    unknown_words: tuple[str, ...]
    unread_words: tuple[str, ...]
    segment_thresh: float
    use_nls: bool
    geometry: Letterbox
    box_xyxy_input: np.ndarray
    probability_input: np.ndarray

    @property
    def probability(self):
        """(h, w) float32 that is compared with the threshold, computed at each call.

        With ASNLS values inside the box may pass 1.
        """
        return _probability(
            self.probability_input, self.box_xyxy_input, self.score, self.geometry, self.use_nls
        )

    def with_mask(self, segment_thresh=None, use_nls=None):
        """The same with another mask, made without the network.

        Args:
            segment_thresh: value above which a pixel is mask; None leaves it.
            use_nls: whether the box weighs the mask (ASNLS); None leaves it.
        """
        changed = replace(
            self,
            segment_thresh=self.segment_thresh if segment_thresh is None else segment_thresh,
            use_nls=self.use_nls if use_nls is None else bool(use_nls),
        )
        return replace(changed, mask=changed.probability > changed.segment_thresh)


class Predictor:
    """A network with its words, for one photograph at a time. Not for several threads at once.

    >>> predictor = Predictor.from_config("config/demo.json", "best.weights.h5")
    >>> predictor.set_image("photo.jpg")
    >>> found = predictor.predict(["the red circle", "square on the left"])
    >>> [prediction.expression for prediction in found]
    ['the red circle', 'square on the left']
    >>> found[0].box_xyxy.shape, found[0].mask.shape == predictor.image.shape[:2]
    ((4,), True)
    >>> bolder = found[0].with_mask(segment_thresh=0.2)
    >>> bool(bolder.mask.sum() >= found[0].mask.sum())
    True

    Args:
        model: network of `model.mcn.build_mcn`.
        anchors_px: (A, 2) float, width and height.
        reader: `utils.prediction.expressions.ExpressionReader`.
        segment_thresh, use_nls, batch_size: as the config keys segment_thresh, use_nls and
            eval_batch_size.
        jit_compile: whether to compile with XLA.
        max_pixels: larger photographs are refused.

    Attributes:
        image: uint8 (h, w, 3), the photograph, upright; None before `set_image`.
        image_seconds: time that the photograph took in the network.
        weights_report: `model.weights.LoadReport`, where `from_config` read weights.
    """

    def __init__(
        self,
        model,
        anchors_px,
        reader,
        *,
        segment_thresh=0.35,
        use_nls=True,
        batch_size=8,
        jit_compile=False,
        max_pixels=MAX_PIXELS,
    ):
        self.reader, self.batch_size, self.max_pixels = reader, batch_size, max_pixels
        self.segment_thresh, self.use_nls = segment_thresh, bool(use_nls)
        self.image = self.image_seconds = self.weights_report = None
        self._grounder = Grounder(model, anchors_px, jit_compile)
        self._attention = AttentionReader(model)
        self._features = self._geometry = None

    @classmethod
    def from_config(cls, config, weights=None, overrides=(), max_pixels=MAX_PIXELS):
        """The predictor that a run's settings describe.

        Args:
            config: path of a JSON file, or a `config.schema.Config`.
            weights: file of ours or a published checkpoint; default: config.evaluate_model.
            overrides: strings "key=value" over the file.
            max_pixels: larger photographs are refused.

        Raises:
            ConfigError, WeightsError, ValueError, FileNotFoundError: settings, weights, anchors
                or words cannot be used.
        """
        if not isinstance(config, Config):
            config = load_config(config, overrides)
        weights = Path(os.fspath(weights or config.evaluate_model))
        if not weights.exists():
            raise FileNotFoundError(
                f"{weights}: no such weights; train.py writes some (`make demo` those of "
                "config/demo.json), or name another file"
            )
        reader = ExpressionReader(config)
        anchors = read_anchors(config.anchors_file)
        model = build_mcn(config)
        report = load_weights(model, weights)
        predictor = cls(
            model,
            anchors,
            reader,
            segment_thresh=config.segment_thresh,
            use_nls=config.use_nls,
            batch_size=config.eval_batch_size,
            jit_compile=bool(config.jit_compile),
            max_pixels=max_pixels,
        )
        predictor.weights_report = report
        predictor.warm_up()
        return predictor

    def warm_up(self, attention=False):
        """Runs everything once, so that times measured later are those of the work itself.

        Args:
            attention: whether the attention maps, too.
        """
        self.set_image(np.full((8, 8, 3), 128, np.uint8))
        self.predict("a")
        if attention:
            self.attention("a")
        self.image = self.image_seconds = self._features = self._geometry = None

    def set_image(self, image):
        """Takes a photograph; its features serve all expressions that follow.

        Args:
            image: what `utils.prediction.photographs.read_photograph` reads: path, PIL.Image or
                array.

        Raises:
            DataError: it cannot be read or is too large; the photograph before stays.
        """
        photograph = read_photograph(image, self.max_pixels)
        start = time.perf_counter()
        square = letterbox_image(photograph, self._grounder.input_size)
        features = self._grounder.encode_images(square[None])
        self.image_seconds = time.perf_counter() - start
        self.image = np.asarray(photograph)
        self._features = features
        self._geometry = Letterbox.fit(*photograph.size, self._grounder.input_size)

    def predict(self, expressions, segment_thresh=None, use_nls=None):
        """Finds what is meant.

        Args:
            expressions: list of str, or one str.
            segment_thresh, use_nls: in place of those of the predictor.

        Returns:
            list of `Prediction`, one an expression.

        Raises:
            ValueError: there is no photograph yet, or an expression without words.
        """
        segment_thresh = self.segment_thresh if segment_thresh is None else segment_thresh
        use_nls = self.use_nls if use_nls is None else bool(use_nls)
        expressions = self._checked(expressions)
        predictions = []
        for at in range(0, len(expressions), self.batch_size):
            chunk = expressions[at : at + self.batch_size]
            predictions += self._predict(chunk, segment_thresh, use_nls)
        return predictions

    def attention(self, expressions):
        """Where the network looks for each expression: list of
        `utils.prediction.attention.Attention`.

        Arguments and errors as of `predict`.
        """
        expressions = self._checked(expressions)
        if not expressions:
            return []
        fq = self._grounder.encode_words(self.reader.read(expressions).inputs)
        return self._attention.read(self._features, [0] * len(expressions), fq, self._geometry)

    def _checked(self, expressions):
        if self._features is None:
            raise ValueError("there is no photograph yet: call set_image first")
        expressions = [expressions] if isinstance(expressions, str) else list(expressions)
        for expression in expressions:
            if not expression.split():
                raise ValueError("an expression is empty: say in words what to find")
        return expressions

    def _predict(self, expressions, segment_thresh, use_nls):
        start = time.perf_counter()
        reading = self.reader.read(expressions)
        fq = self._grounder.encode_words(reading.inputs)
        found = self._grounder.locate(self._features, [0] * len(expressions), fq)
        shared = (time.perf_counter() - start) / len(expressions)
        predictions = []
        for k, (box, rounded, score, probability) in enumerate(zip(*found, strict=True)):
            start = time.perf_counter()
            placed = _probability(probability, rounded, score, self._geometry, use_nls)
            mask = placed > segment_thresh
            predictions.append(
                Prediction(
                    expression=expressions[k],
                    box_xyxy=_inside(unletterbox_box(box, self._geometry), self._geometry),
                    score=float(score),
                    mask=mask,
                    seconds=shared + time.perf_counter() - start,
                    unknown_words=reading.unknown[k],
                    unread_words=reading.unread[k],
                    segment_thresh=segment_thresh,
                    use_nls=use_nls,
                    geometry=self._geometry,
                    box_xyxy_input=rounded,
                    probability_input=probability,
                )
            )
        return predictions


def _probability(probability, box_xyxy_px, score, geometry, use_nls):
    """(S/8, S/8) of one expression → (h, w) float32."""
    return place_masks(probability[None], box_xyxy_px[None], [score], geometry, use_nls)[..., 0]


def _inside(box_xyxy, geometry):
    """A box moved inside the photograph, from whose grey border it may have come."""
    width, height = geometry.image_width, geometry.image_height
    return np.clip(box_xyxy, 0, [width, height, width, height])
