"""Computes what the page shows: from a photograph and an expression to pictures and figures."""

import html
import os
import re
import threading
from dataclasses import dataclass, replace

import cv2
import numpy as np

from config.errors import UserError
from utils.prediction.attention import BRANCHES, draw_attention
from utils.prediction.prediction import Prediction
from utils.prediction.predictor import Predictor
from utils.visualization.drawing import draw_prediction

LONGEST_EXPRESSION = 300
# The longer side of the pictures on the page, in pixels.
SMALLEST_SIDE, LARGEST_SIDE = 560, 960


class PageError(UserError):
    """Input that the page cannot use; the message tells the visitor what to do."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the page shows for one photograph and expression.

    Attributes:
        prediction: the `Prediction`, which can recompute its mask without running the network.
        shown: (h, w, 3) uint8, the photograph at the size of the page.
        attention_mask, attention_box: pictures of the same shape and dtype.
        image_seconds: time taken to encode the photograph; 0 if it was encoded before.
    """

    prediction: Prediction
    shown: np.ndarray
    attention_mask: np.ndarray
    attention_box: np.ndarray
    image_seconds: float

    @property
    def picture(self) -> np.ndarray:
        """The photograph with box, mask and caption: (h, w, 3) uint8."""
        prediction = self.prediction
        height, width = self.shown.shape[:2]
        mask = cv2.resize(prediction.mask.astype(np.float32), (width, height)) >= 0.5
        box = prediction.box_xyxy * (width / prediction.mask.shape[1])
        return draw_prediction(
            self.shown,
            prediction.expression,
            box,
            mask,
            score=prediction.score,
            width=max(height, width),
        )

    @property
    def facts(self) -> str:
        """Score, box, area and time as HTML."""
        prediction = self.prediction
        height, width = prediction.mask.shape
        area = int(prediction.mask.sum())
        box = ", ".join(f"{value:.0f}" for value in prediction.box_xyxy)
        rows = {
            "Box score": f"{prediction.score:.2f}",
            f"Box, pixels of {width}×{height}": box,
            "Mask": f"{area:,} px, {100 * area / prediction.mask.size:.1f} %",
            "Time, photograph + words": f"{self.image_seconds:.2f} + {prediction.seconds:.2f} s",
        }
        cells = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in rows.items())
        notes = ""
        if prediction.unknown_words:
            notes += _note("Unknown words, ignored", prediction.unknown_words)
        if prediction.unread_words:
            notes += _note("Words beyond the limit, ignored", prediction.unread_words)
        return f'<dl class="facts">{cells}</dl>{notes}'

    def with_mask(self, segment_thresh: float, use_nls: bool) -> "Answer":
        """Recomputes the mask with other settings, without running the network."""
        return replace(self, prediction=self.prediction.with_mask(segment_thresh, use_nls))


class Answerer:
    """Answers the visitors of a page, one at a time.

    Args:
        predictor: the `Predictor`.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._lock = threading.Lock()
        self._encoded: tuple[str, int, int] | None = None

    def answer(
        self,
        path: str | os.PathLike | None,
        expression: str | None,
        segment_thresh: float,
        use_nls: bool,
    ) -> Answer:
        """Locates an expression in a photograph.

        Args:
            path: the photograph; None if the visitor has chosen none.
            expression: the expression; None or empty if the visitor has typed none.
            segment_thresh, use_nls: settings of the mask.

        Raises:
            PageError: the photograph or the expression is missing, or the expression is too long.
            DataError: the photograph cannot be read.
        """
        if not path:
            raise PageError("Choose a photograph first.")
        expression = " ".join((expression or "").split())
        if not expression:
            raise PageError("Describe the object to find, such as “the woman on the left”.")
        if len(expression) > LONGEST_EXPRESSION:
            raise PageError(f"Use at most {LONGEST_EXPRESSION} characters.")
        with self._lock:
            seconds = self._encode(path)
            (prediction,) = self._predictor.predict([expression], segment_thresh, use_nls)
            (attention,) = self._predictor.attention([expression])
            shown = _at_page_size(self._predictor.image)
        height, width = shown.shape[:2]
        attention_mask, attention_box = (
            draw_attention(shown, attention.over_photograph(branch, width, height))
            for branch in BRANCHES
        )
        return Answer(prediction, shown, attention_mask, attention_box, seconds)

    def _encode(self, path):
        """Encodes the photograph, unless it was the previous one; returns the seconds taken."""
        status = os.stat(path)
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key == self._encoded:
            return 0.0
        self._encoded = None
        self._predictor.set_image(path)
        self._encoded = key
        return self._predictor.image_seconds


def error_html(error: Exception) -> str:
    """Formats an error for the page, without the folders of the server."""
    folder = r"(?:[A-Za-z]:)?(?:[/\\][^/\\\s:'\"]+)*[/\\]"
    text = re.sub(folder, "", str(error))
    return f'<p class="problem">{html.escape(text)}</p>'


def _note(text, words):
    return f'<p class="note">{text}: <b>{html.escape(", ".join(words))}</b></p>'


def _at_page_size(image):
    height, width = image.shape[:2]
    longest = int(np.clip(max(height, width), SMALLEST_SIDE, LARGEST_SIDE))
    scale = longest / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
