"""Enlarging of a sample: a window of its image, of which the network sees all.

The window has whole pixels and contains the whole referent, so box and mask stay exact. To shrink
an image is only to place it otherwise in the input: `data.loading.letterbox.Letterbox.shrunk`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Window:
    """A part of an image.

    Attributes:
        left, top: its first pixel in the image.
        width, height: its size in pixels of the image.
    """

    left: int
    top: int
    width: int
    height: int

    def image(self, image: Image.Image) -> Image.Image:
        """What the window shows of an image."""
        return image.crop((self.left, self.top, self.left + self.width, self.top + self.height))

    def box(self, box_xyxy_px: Sequence[int]) -> tuple[int, int, int, int]:
        """A box in pixels of the window; left, top, right, bottom as before."""
        x1, y1, x2, y2 = box_xyxy_px
        return x1 - self.left, y1 - self.top, x2 - self.left, y2 - self.top

    def mask(self, mask_hw: np.ndarray) -> np.ndarray:
        """What the window shows of a mask (h, w)."""
        return mask_hw[self.top : self.top + self.height, self.left : self.left + self.width]


def window_at(
    size: tuple[int, int], box_xyxy_px: Sequence[int], factor: float, place: tuple[float, float]
) -> Window:
    """The window that shows an image enlarged by a factor.

    Args:
        size: width and height of the image in pixels.
        box_xyxy_px: of the referent, in the image. The window contains it, as far as it lies in the
            image, and is larger than the factor says if need be.
        factor: at least 1.
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
    low, high = max(last - length, 0), min(first, size - length)
    return low + min(int(place * (high - low + 1)), high - low), length
