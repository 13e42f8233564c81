"""Grounding of expressions in photographs from Python.

predictor = Predictor.from_config("config/config.json", "log/refcoco/best.weights.h5")
predictor.set_image("photo.jpg")
for prediction in predictor.predict(["the woman on the left", "red umbrella"]):
    print(prediction.expression, prediction.box_xyxy, prediction.score, prediction.mask.sum())
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from config.errors import UserError
from config.schema import Config, load_config
from data.loading.images import MAX_PIXELS
from data.loading.letterbox import Letterbox, letterbox_image, unletterbox_box
from data.text.vectors import tokenize
from model.weights import LoadReport
from utils.prediction.attention import Attention, AttentionReader
from utils.prediction.engines.parts import Array
from utils.prediction.expressions import ExpressionReader, check_expressions
from utils.prediction.grounder import Grounder, load_grounder
from utils.prediction.masks import place_mask
from utils.prediction.photographs import read_photograph
from utils.prediction.prediction import (
    Prediction,
    check_min_score,
    check_threshold,
    check_use_nls,
)


@dataclass(frozen=True, eq=False)
class _Photograph:
    """A photograph with its features.

    Attributes:
        name: what error messages call it; may be empty.
        seconds: time taken to encode it.
    """

    name: str
    pixels: np.ndarray
    features: Sequence[Array]
    geometry: Letterbox
    seconds: float


class Predictor:
    """Grounds expressions in one photograph at a time. Not safe for use by several threads.

    >>> predictor = Predictor.from_config("config/demo.json", "best.weights.h5")
    >>> predictor.set_image("photo.jpg")
    >>> predictions = predictor.predict(["the red circle", "square on the left"])
    >>> [prediction.expression for prediction in predictions]
    ['the red circle', 'square on the left']
    >>> predictions[0].box_xyxy.shape, predictions[0].mask.shape == predictor.image.shape[:2]
    ((4,), True)
    >>> larger = predictions[0].with_mask(segment_thresh=0.2)
    >>> bool(larger.mask.sum() >= predictions[0].mask.sum())
    True

    Args:
        grounder: `utils.prediction.grounder.Grounder`.
        reader: `utils.prediction.expressions.ExpressionReader`.
        segment_thresh, use_nls, batch_size: as the config keys segment_thresh, use_nls and
            eval_batch_size.
        max_pixels: photographs with more pixels are refused.
        min_score: smallest score with which a box counts as found; by default, every box does.

    Raises:
        UserError: min_score is not in 0..1, or use_nls is neither true nor false.
    """

    def __init__(
        self,
        grounder: Grounder,
        reader: ExpressionReader,
        *,
        segment_thresh: float = 0.35,
        use_nls: bool = True,
        batch_size: int = 8,
        max_pixels: int = MAX_PIXELS,
        min_score: float = 0.0,
    ) -> None:
        check_min_score(min_score)
        check_use_nls(use_nls)
        self.reader, self.batch_size, self.max_pixels = reader, batch_size, max_pixels
        self.segment_thresh, self.use_nls = segment_thresh, bool(use_nls)
        self.min_score = min_score
        self._grounder, self._process = grounder, os.getpid()
        self._attention = AttentionReader(grounder.model)
        self._photograph: _Photograph | None = None

    @classmethod
    def from_config(
        cls,
        config: str | os.PathLike | Config,
        weights: str | os.PathLike | None = None,
        overrides: Sequence[str] = (),
        max_pixels: int = MAX_PIXELS,
        min_score: float = 0.0,
    ) -> "Predictor":
        """Builds the predictor that the settings of a run describe.

        Args:
            config: path of a JSON file, or a `config.schema.Config`.
            weights: weight file of this project or a published checkpoint; None for
                config.evaluate_model.
            overrides: strings "key=value" that override the file.
            max_pixels: photographs with more pixels are refused.
            min_score: as that of the class.

        Raises:
            UserError, OSError: the settings, weights, anchors or word vectors cannot be used.
        """
        settings = config if isinstance(config, Config) else load_config(config, overrides)
        # The words come first: a missing file is reported before the network is built.
        reader = ExpressionReader(settings)
        predictor = cls(
            load_grounder(settings, weights),
            reader,
            segment_thresh=settings.segment_thresh,
            use_nls=bool(settings.use_nls),
            batch_size=settings.eval_batch_size,
            max_pixels=max_pixels,
            min_score=min_score,
        )
        predictor.warm_up()
        return predictor

    @property
    def weights_report(self) -> LoadReport | None:
        """What was loaded from the weight file; None if the network was not loaded from one."""
        return self._grounder.weights_report

    @property
    def image(self) -> np.ndarray:
        """(h, w, 3) uint8, the photograph in upright orientation."""
        return self._current().pixels

    @property
    def image_seconds(self) -> float:
        """Time taken to letterbox and encode the photograph."""
        return self._current().seconds

    def warm_up(self, attention: bool = False) -> None:
        """Runs every function once, so that later timings do not include tracing.

        Args:
            attention: whether to run the attention maps as well.
        """
        self.set_image(np.full((8, 8, 3), 128, np.uint8))
        self.predict("a")
        if attention:
            self.attention("a")
        self._photograph = None

    def set_image(
        self,
        image: str | bytes | os.PathLike | Image.Image | np.ndarray,
        name: str | None = None,
    ) -> None:
        """Encodes a photograph; its features serve all expressions that follow.

        Args:
            image: path, PIL.Image or array, see
                `utils.prediction.photographs.read_photograph`.
            name: what error messages call the photograph; by default its path.

        Raises:
            DataError: the photograph cannot be read or is too large. None is set then.
            UserError: the process was forked after the predictor was made.
        """
        self._check_process()
        self._photograph = None  # Answers about the previous one would be taken for this one's.
        if name is None and isinstance(image, (str, bytes, os.PathLike)):
            name = os.fsdecode(image)
        photograph = read_photograph(image, self.max_pixels, name)
        start = time.perf_counter()
        square = letterbox_image(photograph, self._grounder.input_size)
        features = self._grounder.encode_images(square[None])
        self._photograph = _Photograph(
            name=name or "",
            pixels=np.asarray(photograph),
            features=features,
            geometry=Letterbox.fit(*photograph.size, self._grounder.input_size),
            seconds=time.perf_counter() - start,
        )

    def predict(
        self,
        expressions: str | Sequence[str],
        segment_thresh: float | None = None,
        use_nls: bool | None = None,
        min_score: float | None = None,
    ) -> list[Prediction]:
        """Predicts a box and a mask for each expression.

        Args:
            expressions: one expression or several.
            segment_thresh, use_nls, min_score: override those of the predictor.

        Returns:
            One `Prediction` per expression, always with one box, whether the object exists or not;
            its `found` tells whether the score reaches min_score. Each holds a mask of one byte
            per pixel: for hundreds of expressions about a large photograph, call this several
            times.

        Raises:
            UserError: an expression is no text, is empty, or contains NUL or lone surrogates; a
                threshold is not in 0..1, or use_nls neither true nor false; the network computes
                NaN or infinite values; or the process was forked after the predictor was made.
            ValueError: `set_image` has not been called.
        """
        segment_thresh = self.segment_thresh if segment_thresh is None else segment_thresh
        check_threshold(segment_thresh)
        min_score = self.min_score if min_score is None else min_score
        check_min_score(min_score)
        check_use_nls(self.use_nls if use_nls is None else use_nls)
        use_nls = self.use_nls if use_nls is None else bool(use_nls)
        photograph, expressions = self._current(), _checked(expressions)
        predictions: list[Prediction] = []
        for chunk in self._chunks(expressions):
            predictions += self._predict(photograph, chunk, segment_thresh, use_nls, min_score)
        return predictions

    def attention(self, expressions: str | Sequence[str]) -> list[Attention]:
        """Computes the attention maps of each expression.

        Args:
            expressions: one expression or several.

        Returns:
            One `utils.prediction.attention.Attention` per expression.

        Raises:
            As `predict`.
        """
        photograph, expressions = self._current(), _checked(expressions)
        found: list[Attention] = []
        for chunk in self._chunks(expressions):
            text_features = self._grounder.encode_words(self.reader.read(chunk).inputs)
            rows = [0] * len(chunk)
            found += self._attention.read(
                photograph.features, rows, text_features, photograph.geometry, photograph.name
            )
        return found

    def _chunks(self, expressions: Sequence[str]) -> Iterator[Sequence[str]]:
        for start in range(0, len(expressions), self.batch_size):
            yield expressions[start : start + self.batch_size]

    def _check_process(self) -> None:
        if os.getpid() != self._process:  # TensorFlow's threads are not there: it would wait.
            raise UserError(
                "this Predictor was made before the process was forked, and TensorFlow does not "
                "work in a forked process: make one in each process, and start processes by "
                'multiprocessing.get_context("spawn")'
            )

    def _current(self) -> _Photograph:
        self._check_process()
        if self._photograph is None:
            raise ValueError("no photograph is set: call set_image first")
        return self._photograph

    def _predict(self, photograph, expressions, segment_thresh, use_nls, min_score):
        geometry = photograph.geometry
        start = time.perf_counter()
        reading = self.reader.read(expressions)
        text_features = self._grounder.encode_words(reading.inputs)
        weights = self._attention.words(reading.inputs)
        rows = [0] * len(expressions)
        outputs = self._grounder.locate(photograph.features, rows, text_features, [photograph.name])
        shared_seconds = (time.perf_counter() - start) / len(expressions)
        predictions = []
        for k, (box, rounded, score, probability) in enumerate(zip(*outputs, strict=True)):
            start = time.perf_counter()
            resized = place_mask(probability, rounded, float(score), geometry, use_nls)
            mask = resized > segment_thresh
            predictions.append(
                Prediction(
                    expression=expressions[k],
                    box_xyxy=_clipped(unletterbox_box(box, geometry), geometry),
                    score=float(score),
                    mask=mask,
                    seconds=shared_seconds + time.perf_counter() - start,
                    unknown_words=reading.unknown[k],
                    unread_words=reading.unread[k],
                    segment_thresh=segment_thresh,
                    use_nls=use_nls,
                    geometry=geometry,
                    box_xyxy_input=rounded,
                    probability_input=probability,
                    min_score=float(min_score),
                    word_weights=None if weights is None else _weighed(expressions[k], weights[k]),
                )
            )
        return predictions


def _checked(expressions):
    several = isinstance(expressions, Iterable) and not isinstance(expressions, str | bytes)
    expressions = list(expressions) if several else [expressions]
    check_expressions(expressions)
    return expressions


def _weighed(expression, weights):
    """(word, weight) of the words that are read, from the weights of all (T,) positions."""
    return tuple(zip(tokenize(expression), map(float, weights), strict=False))


def _clipped(box_xyxy, geometry):
    """Clips a box, which can reach into the gray border of the letterbox, to the photograph."""
    width, height = geometry.image_width, geometry.image_height
    return np.clip(box_xyxy, 0, [width, height, width, height])
