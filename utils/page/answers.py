"""Computes what the page shows: from a photograph and an expression to pictures and figures."""

import os
import threading
from dataclasses import dataclass, replace

import cv2
import numpy as np

from config.errors import UserError
from data.loading.errors import DataError
from utils.page.markup import Address, answer_html, attention_html, facts_html, words_html
from utils.prediction.attention import BRANCHES, draw_attention
from utils.prediction.batch import Warn
from utils.prediction.expressions import check_expressions
from utils.prediction.grounder import NotFiniteError
from utils.prediction.prediction import Prediction, check_min_score, check_threshold
from utils.prediction.predictor import Predictor
from utils.visualization.drawing import draw_overlay

LONGEST_EXPRESSION = 300
# The longer side of the pictures on the page, in pixels.
SMALLEST_SIDE, LARGEST_SIDE = 560, 960
LONGEST_NAME = 100
NO_UPLOAD = "The photograph is no longer here: upload it again."
BUG = "The server failed to answer, which is not your fault: try another photograph or other words."
NO_NUMBERS = "The network computes no valid result for this: try another photograph or other words."
_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


class PageError(UserError):
    """Input that the page cannot use; the message tells the visitor what to do."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the page shows for one photograph and expression.

    Attributes:
        prediction: the `Prediction`, which can recompute its mask without running the network.
            Its mask is empty in the answers of `kept`.
        shown: (h, w, 3) uint8, the photograph at the size of the page.
        attention_mask, attention_box: pictures of the same shape and dtype.
        image_seconds: time taken to encode the photograph; 0 if it was encoded before.
        warning: clause about what the network does not know; None if there is nothing to say.
    """

    prediction: Prediction
    shown: np.ndarray
    attention_mask: np.ndarray
    attention_box: np.ndarray
    image_seconds: float
    warning: str | None = None

    @property
    def picture(self) -> np.ndarray:
        """The photograph, with box and mask if found: (h, w, 3) uint8."""
        prediction = self.prediction
        height, width = self.shown.shape[:2]
        mask = cv2.resize(prediction.mask.astype(np.uint8) * 255, (width, height)) >= 128
        box = prediction.box_xyxy * (width / prediction.mask.shape[1])
        if not prediction.found:
            return self.shown
        return draw_overlay(self.shown, box, mask, width=max(height, width))

    def figure(self, address: Address) -> str:
        """The picture as HTML, with its caption; `address` makes that of the picture."""
        return answer_html(self.picture, self.prediction, address)

    @property
    def facts(self) -> str:
        """Score, box, area and time as HTML."""
        return facts_html(self.prediction, self.image_seconds, self.warning)

    @property
    def words(self) -> str:
        """The words of the expression with their weights as HTML."""
        return words_html(self.prediction)

    def attention_figures(self, address: Address) -> tuple[str, str]:
        """The attention maps for mask and box as HTML; `address` makes those of the pictures."""
        expression = self.prediction.expression
        return (
            attention_html(self.attention_mask, "mask", expression, address),
            attention_html(self.attention_box, "box", expression, address),
        )

    def with_mask(
        self, segment_thresh: float, use_nls: bool, min_score: float | None = None
    ) -> "Answer":
        """Recomputes the answer with other settings, without running the network.

        Args:
            segment_thresh, use_nls: settings of the mask.
            min_score: smallest score with which the box counts as found; None keeps it.

        Raises:
            PageError: one of the settings is out of range or of another type.
        """
        min_score = self.prediction.min_score if min_score is None else min_score
        _check_settings(segment_thresh, use_nls, min_score)
        prediction = self.prediction.with_mask(segment_thresh, use_nls)
        return replace(self, prediction=replace(prediction, min_score=min_score))

    def kept(self) -> "Answer":
        """What the page keeps for `with_mask`: at most 3 MB, however large the photograph is."""
        return replace(
            self,
            prediction=replace(self.prediction, mask=np.zeros((0, 0), bool)),
            attention_mask=_NO_PICTURE,
            attention_box=_NO_PICTURE,
        )


class Answerer:
    """Answers the visitors of a page, one at a time.

    Args:
        predictor: the `Predictor`.
        warn: returns what to warn about, if anything, from the path of a photograph and the
            unknown words of an expression.
    """

    def __init__(self, predictor: Predictor, warn: Warn | None = None) -> None:
        self._predictor, self._warn = predictor, warn
        self._lock = threading.Lock()
        self._encoded: tuple[str, int, int] | None = None

    def answer(
        self,
        path: str | os.PathLike | None,
        expression: str | None,
        segment_thresh: float,
        use_nls: bool,
        name: str | None = None,
        min_score: float = 0.0,
    ) -> Answer:
        """Locates an expression in a photograph.

        Args:
            path: the photograph; None if the visitor has chosen none.
            expression: the expression; None or empty if the visitor has typed none.
            segment_thresh, use_nls: settings of the mask.
            name: what messages call the photograph; by default the name of the file without its
                folder.
            min_score: smallest score with which the box counts as found.

        Raises:
            PageError: the photograph is missing or cannot be read, or the expression or a setting
                cannot be used.
        """
        if not path:
            raise PageError("Choose a photograph first.")
        expression = _checked_expression(expression)
        _check_settings(segment_thresh, use_nls, min_score)
        name = name or os.path.basename(path)
        with self._lock:
            seconds = self._encode(path, name[:LONGEST_NAME])
            try:
                (prediction,) = self._predictor.predict(
                    [expression], segment_thresh, use_nls, min_score
                )
                (attention,) = self._predictor.attention([expression])
            except NotFiniteError:
                raise PageError(NO_NUMBERS) from None
            shown = _at_page_size(self._predictor.image)
        height, width = shown.shape[:2]
        attention_mask, attention_box = (
            draw_attention(shown, attention.over_photograph(branch, width, height))
            for branch in BRANCHES
        )
        warning = self._warn(path, prediction.unknown_words) if self._warn else None
        return Answer(prediction, shown, attention_mask, attention_box, seconds, warning)

    def _encode(self, path, name):
        """Encodes the photograph, unless it was the previous one; returns the seconds taken."""
        status = os.stat(path)
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key == self._encoded:
            return 0.0
        self._encoded = None
        try:
            self._predictor.set_image(path, name)
        except DataError as error:
            raise PageError(str(error)) from None
        self._encoded = key
        return self._predictor.image_seconds


def _checked_expression(expression):
    """The expression with single spaces between its words."""
    if not isinstance(expression, str | None):
        raise PageError("Describe the object in words.")
    if len(expression or "") > LONGEST_EXPRESSION:
        raise PageError(f"Use at most {LONGEST_EXPRESSION} characters.")
    expression = " ".join((expression or "").split())
    if not expression:
        raise PageError("Describe the object to find in a few words.")
    try:
        check_expressions([expression])
    except UserError as error:
        raise PageError(str(error)) from None
    return expression


def _check_settings(segment_thresh, use_nls, min_score):
    try:
        check_threshold(segment_thresh)
        check_min_score(min_score)
    except UserError as error:
        raise PageError(str(error)) from None
    if not isinstance(use_nls, bool):
        raise PageError("ASNLS can only be on or off.")


def _at_page_size(image):
    height, width = image.shape[:2]
    longest = int(np.clip(max(height, width), SMALLEST_SIDE, LARGEST_SIDE))
    scale = longest / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
