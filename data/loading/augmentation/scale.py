"""Enlarging and shrinking of a sample: a window of its image, of which the network sees all.

A window that is smaller than the image shows its content larger; one that is larger adds gray
around it. The window has whole pixels and contains the whole referent, so box and mask stay exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data.loading.letterbox import GRAY


@dataclass(frozen=True)
class Window:
    """A part of an image, or more than it.

    Attributes:
        left, top: its first pixel in the image; negative if it begins outside.
        width, height: its size in pixels of the image.
    """

    left: int
    top: int
    width: int
    height: int

    def image(self, image: Image.Image) -> Image.Image:
        """What the window shows of an RGB image, gray outside of it."""
        canvas = Image.new("RGB", (self.width, self.height), (GRAY, GRAY, GRAY))
        canvas.paste(image, (-self.left, -self.top))
        return canvas

    def box(self, box_xyxy_px: Sequence[int]) -> tuple[int, int, int, int]:
        """A box in pixels of the window; left, top, right, bottom as before."""
        x1, y1, x2, y2 = box_xyxy_px
        return x1 - self.left, y1 - self.top, x2 - self.left, y2 - self.top

    def mask(self, mask_hw: np.ndarray) -> np.ndarray:
        """What the window shows of a mask (h, w), 0 outside of it."""
        height, width = mask_hw.shape
        shown = np.zeros((self.height, self.width), mask_hw.dtype)
        top, left = max(self.top, 0), max(self.left, 0)
        part = mask_hw[
            top : min(self.top + self.height, height), left : min(self.left + self.width, width)
        ]
        y, x = top - self.top, left - self.left
        shown[y : y + part.shape[0], x : x + part.shape[1]] = part
        return shown


def window_at(
    size: tuple[int, int], box_xyxy_px: Sequence[int], factor: float, place: tuple[float, float]
) -> Window:
    """The window that shows an image enlarged by a factor.

    Args:
        size: width and height of the image in pixels.
        box_xyxy_px: of the referent, in the image. The window contains it, as far as it lies in the
            image, and is larger than the factor says if need be.
        factor: above 1 to enlarge, below 1 to shrink.
        place: where the window lies among the possible places, 0 to 1 from left to right and from
            top to bottom.
    """
    x1, y1, x2, y2 = box_xyxy_px
    left, width = _interval(size[0], x1, x2, factor, place[0])
    top, height = _interval(size[1], y1, y2, factor, place[1])
    return Window(left, top, width, height)


def _interval(size: int, first: int, last: int, factor: float, place: float) -> tuple[int, int]:
    """Start and length of the window along one axis of the image."""
    first, last = max(first, 0), min(last, size)
    length = max(round(size / factor), last - first, 1)
    if length > size:  # The image lies in the window.
        low, high = size - length, 0
    else:  # The window lies in the image, and the referent in the window.
        low, high = max(last - length, 0), min(first, size - length)
    return low + min(int(place * (high - low + 1)), high - low), length
