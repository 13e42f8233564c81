"""What the network predicts for one expression."""

import math
import numbers
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from config.errors import UserError, shown
from data.loading.letterbox import Letterbox
from utils.prediction.masks import place_mask
from utils.prediction.photographs import path_text


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one expression.

    Attributes:
        expression: the expression.
        box_xyxy: (4,) float64 left, top, right, bottom in pixels of the photograph, clipped to it.
        score: confidence of the box in 0..1: the sigmoid of the confidence that the network outputs
            for the box, the highest of all boxes. It is not the probability that the object exists:
            in training, every expression had a referent.
        mask: (h, w) bool, at the size of the photograph.
        seconds: time for this expression, without encoding the photograph.
        unknown_words: words without a vector, which are read as zeros, or without a word piece.
        unread_words: words beyond word_len, which the network does not see.
        segment_thresh, use_nls: settings with which the mask was computed.
        geometry: `Letterbox` of the photograph.
        box_xyxy_input: (4,) int32, the rounded box in pixels of the letterboxed input.
        probability_input: (S/8, S/8) float32 in 0..1, the mask probability that the network
            outputs.
        min_score: smallest score with which the box counts as found; 0 for none.
        word_weights: (word, weight) of each word that is read, in their order: how much of the
            language feature comes from it, by the attention of section 3.1. The weights sum to at
            most one; the rest is that of positions without a word. None for networks without this
            attention.
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
    min_score: float = 0.0
    word_weights: tuple[tuple[str, float], ...] | None = None

    @property
    def found(self) -> bool:
        """Whether the score reaches min_score. If not, box and mask are only the best guess."""
        return self.score >= self.min_score

    def __repr__(self) -> str:
        """The result in one line, without arrays of pixels."""
        if not self.found:
            return (
                f"Prediction({shown(self.expression)}, nothing found: score {self.score:.2f} is "
                f"below {self.min_score:g})"
            )
        box = ", ".join(f"{x:.1f}" for x in self.box_xyxy)
        return (
            f"Prediction({shown(self.expression)}, box_xyxy=[{box}], score={self.score:.2f}, "
            f"mask of {self.mask.sum():,} px in {self.mask.shape[1]}×{self.mask.shape[0]})"
        )

    @property
    def probability(self) -> np.ndarray:
        """(h, w) float32, which the mask compares with segment_thresh; recomputed at each access.

        With ASNLS, values inside the box can exceed 1.
        """
        return place_mask(
            self.probability_input, self.box_xyxy_input, self.score, self.geometry, self.use_nls
        )

    def with_mask(
        self, segment_thresh: float | None = None, use_nls: bool | None = None
    ) -> "Prediction":
        """Recomputes the mask with other settings, without running the network.

        Args:
            segment_thresh: probability above which a pixel belongs to the mask; None keeps it.
            use_nls: whether the box weighs the mask (ASNLS); None keeps it.

        Raises:
            UserError: the threshold is not in 0..1, or use_nls is neither true nor false.
        """
        check_threshold(self.segment_thresh if segment_thresh is None else segment_thresh)
        check_use_nls(self.use_nls if use_nls is None else use_nls)
        changed = replace(
            self,
            segment_thresh=self.segment_thresh if segment_thresh is None else segment_thresh,
            use_nls=self.use_nls if use_nls is None else bool(use_nls),
        )
        return replace(changed, mask=changed.probability > changed.segment_thresh)


def to_record(image: str | os.PathLike, prediction: Prediction) -> dict[str, Any]:
    """Converts a `Prediction` to plain values, as a line of predictions.jsonl holds them.

    The box is left, top, right, bottom in pixels of the photograph, whose size is width and height.
    The mask is given as COCO's compressed run lengths. If nothing was found, there is no box, the
    mask is empty, and the score is that of the box that was refused. The weights of words are
    [word, weight] each, or null, see `Prediction.word_weights`.
    """
    mask = mask_of(prediction)
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    height, width = mask.shape
    box = [round(float(value), 2) for value in prediction.box_xyxy]
    score = round(prediction.score, 4)
    if not prediction.found and score >= prediction.min_score:
        score = math.floor(1e4 * prediction.score) / 1e4
    words = prediction.word_weights
    return {
        "image": path_text(image),
        "expression": prediction.expression,
        "width": width,
        "height": height,
        "found": prediction.found,
        "box_xyxy": box if prediction.found else None,
        "score": score,
        "min_score": prediction.min_score,
        "mask_area": int(mask.sum()),
        "mask_rle": {"size": [height, width], "counts": rle["counts"].decode("ascii")},
        "segment_thresh": prediction.segment_thresh,
        "use_nls": int(prediction.use_nls),
        "seconds": round(prediction.seconds, 4),
        "unknown_words": list(prediction.unknown_words),
        "unread_words": list(prediction.unread_words),
        "word_weights": None if words is None else [[word, round(x, 4)] for word, x in words],
    }


def mask_of(prediction: Prediction) -> np.ndarray:
    """(h, w) bool; empty if nothing was found."""
    return prediction.mask if prediction.found else np.zeros_like(prediction.mask)


def check_threshold(segment_thresh: float) -> None:
    """Raises UserError unless a threshold of mask probabilities is a number in 0..1."""
    _check_fraction("mask threshold", segment_thresh)


def check_min_score(min_score: float) -> None:
    """Raises UserError unless the smallest score of a box is a number in 0..1."""
    _check_fraction("smallest score", min_score)


def check_use_nls(use_nls: bool) -> None:
    """Raises UserError unless the choice of ASNLS is true or false, or 1 or 0 as in configs."""
    if not isinstance(use_nls, numbers.Integral | np.bool_) or use_nls not in (0, 1):
        raise UserError(f"use_nls must be True or False, not {repr(use_nls)[:40]}")


def _check_fraction(name: str, value: float) -> None:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise UserError(f"the {name} must be a number between 0 and 1, not {repr(value)[:40]}")
