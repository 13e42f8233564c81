"""What the page in the browser answers, without the page: photograph and words to pictures."""

import html
import os
import re
import threading
from dataclasses import dataclass, replace

import cv2
import numpy as np

from utils.prediction.attention import draw_attention
from utils.prediction.prediction import Prediction
from utils.visualization.drawing import draw_prediction

LONGEST_EXPRESSION = 300
# The pictures of the page, in pixels: photographs of any size are shown between these sides.
SMALLEST_SIDE, LARGEST_SIDE = 560, 960


class PageError(ValueError):
    """What a visitor can mend, said in a sentence."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the page shows for one photograph and expression.

    Attributes:
        prediction: `Prediction`, from which other masks are made without the network.
        shown: uint8 (h, w, 3), the photograph at the size of the page.
        attention_mask, attention_box: uint8 pictures of the same size.
        image_seconds: time of the photograph in the network; 0 if its features were there.
    """

    prediction: Prediction
    shown: np.ndarray
    attention_mask: np.ndarray
    attention_box: np.ndarray
    image_seconds: float

    @property
    def picture(self):
        """The photograph with box, mask and words: uint8 (h, w, 3)."""
        found = self.prediction
        height, width = self.shown.shape[:2]
        mask = cv2.resize(found.mask.astype(np.float32), (width, height)) >= 0.5
        box = found.box_xyxy * (width / found.mask.shape[1])
        return draw_prediction(
            self.shown, found.expression, box, mask, score=found.score, width=max(height, width)
        )

    @property
    def facts(self):
        """Score, box, area and time as HTML."""
        found = self.prediction
        height, width = found.mask.shape
        area = int(found.mask.sum())
        rows = {
            "Score of the box": f"{found.score:.2f}",
            f"Box, pixels of {width}×{height}": ", ".join(f"{v:.0f}" for v in found.box_xyxy),
            "Mask": f"{area:,} px, {100 * area / found.mask.size:.1f} %",
            "Time, photo + words": f"{self.image_seconds:.2f} + {found.seconds:.2f} s",
        }
        cells = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in rows.items())
        notes = ""
        if found.unknown_words:
            notes += _note("Not understood, no word vector", found.unknown_words)
        if found.unread_words:
            notes += _note("Not read, the expression is too long", found.unread_words)
        return f'<dl class="facts">{cells}</dl>{notes}'

    def with_mask(self, segment_thresh, use_nls):
        """The same with another mask; the network rests."""
        return replace(self, prediction=self.prediction.with_mask(segment_thresh, use_nls))


class Answerer:
    """Answers the visitors of a page, one after the other.

    Args:
        predictor: `utils.prediction.predictor.Predictor`.
    """

    def __init__(self, predictor):
        self._predictor = predictor
        self._lock = threading.Lock()
        self._photograph = None

    def find(self, path, expression, segment_thresh, use_nls):
        """An `Answer`.

        Args:
            path: of the photograph, None where there is none.
            expression: the words.
            segment_thresh, use_nls: for the mask.

        Raises:
            PageError: there is no photograph or no words, or too many.
            DataError: the photograph cannot be read.
        """
        if not path:
            raise PageError("Choose a photograph first.")
        expression = " ".join((expression or "").split())
        if not expression:
            raise PageError("Say in words what to find, such as “the woman on the left”.")
        if len(expression) > LONGEST_EXPRESSION:
            raise PageError(f"At most {LONGEST_EXPRESSION} letters, please.")
        with self._lock:
            seconds = self._take(path)
            (prediction,) = self._predictor.predict([expression], segment_thresh, use_nls)
            (attention,) = self._predictor.attention([expression])
            shown = _at_page_size(self._predictor.image)
        height, width = shown.shape[:2]
        pictures = (
            draw_attention(shown, attention.over_photograph(branch, width, height))
            for branch in ("mask", "box")
        )
        return Answer(prediction, shown, *pictures, seconds)

    def _take(self, path):
        """Hands the photograph to the predictor unless it is there already; the time it took."""
        status = os.stat(path)
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key == self._photograph:
            return 0.0
        self._photograph = None
        self._predictor.set_image(path)
        self._photograph = key
        return self._predictor.image_seconds


def error_html(error):
    """An error as the page shows it; folders of the server are not for its visitors."""
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
