"""What the network predicts for one expression."""

import numbers
from dataclasses import dataclass, replace

import numpy as np

from config.errors import UserError, shown
from data.loading.letterbox import Letterbox
from utils.prediction.masks import place_mask


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one expression.

    Attributes:
        expression: the expression.
        box_xyxy: (4,) float64 left, top, right, bottom in pixels of the photograph, clipped to it.
        score: confidence of the box in 0..1.
        mask: (h, w) bool, at the size of the photograph.
        seconds: time for this expression, without encoding the photograph.
        unknown_words: words that have no vector and count as absent.
        unread_words: words beyond word_len, which the network does not see.
        segment_thresh, use_nls: settings with which the mask was computed.
        geometry: `Letterbox` of the photograph.
        box_xyxy_input: (4,) int32, the rounded box in pixels of the letterboxed input.
        probability_input: (S/8, S/8) float32 in 0..1, the mask probability that the network
            outputs.
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

    def __repr__(self) -> str:
        """The result in one line, without arrays of pixels."""
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
            UserError: the threshold is not in 0..1.
        """
        check_threshold(self.segment_thresh if segment_thresh is None else segment_thresh)
        changed = replace(
            self,
            segment_thresh=self.segment_thresh if segment_thresh is None else segment_thresh,
            use_nls=self.use_nls if use_nls is None else bool(use_nls),
        )
        return replace(changed, mask=changed.probability > changed.segment_thresh)


def check_threshold(segment_thresh: float) -> None:
    """Raises UserError unless a threshold of mask probabilities is a number in 0..1."""
    number = isinstance(segment_thresh, numbers.Real) and not isinstance(segment_thresh, bool)
    if not number or not 0 <= segment_thresh <= 1:
        raise UserError(
            f"the mask threshold must be a number between 0 and 1, not {repr(segment_thresh)[:40]}"
        )
