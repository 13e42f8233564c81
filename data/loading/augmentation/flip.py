"""Mirroring of a sample from left to right, its expression included.

An expression is mirrored by exchanging "left" and "right". Where that would not describe the
mirrored image, `mirrored_expression` says so, and the sample stays as it is: "right" in "right
behind the car" may be no direction, a number on a shirt is mirrored itself, and a clock is read
from one side only. The rules of `ambiguity.py` rather leave out a sample too many.
"""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from data.loading.augmentation.ambiguity import is_ambiguous

_STEMS = ("", "most", "ward", "wards", "hand", "handed", "side")
_PLACES = ("top", "bottom", "upper", "lower", "far", "front", "back", "center", "middle", "mid")
_PAIRS = [
    *((f"left{end}", f"right{end}") for end in _STEMS),
    *((f"{place}left", f"{place}right") for place in _PLACES),
]
_OPPOSITE = {a: b for left, right in _PAIRS for a, b in ((left, right), (right, left))}
# Words that contain "left" or "right" by chance.
_HARMLESS = re.compile("[a-z]*(?:bright|fright|upright|wright|copyright|cleft)[a-z]*")
_LETTERS = re.compile(r"[^\W\d_]+")


def mirrored_expression(expression: str) -> str | None:
    """The expression for the mirrored image: "left" and "right" exchanged.

    Case, punctuation and spaces are kept, so that the words have vectors as before.

    Returns:
        The expression; None if it is ambiguous what describes the mirrored image.
    """
    if is_ambiguous(expression):
        return None
    parts, end = [], 0
    for match in _LETTERS.finditer(expression):
        word = match[0].lower()
        if word in _OPPOSITE:
            parts += [expression[end : match.start()], _in_case_of(match[0], _OPPOSITE[word])]
            end = match.end()
        elif ("left" in word or "right" in word) and not _HARMLESS.fullmatch(word):
            return None
    return "".join([*parts, expression[end:]])


def mirrored_image(image: Image.Image) -> Image.Image:
    """The image with left and right exchanged."""
    return ImageOps.mirror(image)


def mirrored_box(box_xyxy_px: Sequence[int], width: int) -> tuple[int, int, int, int]:
    """The box in the mirrored image of `width` pixels; left, top, right, bottom as before.

    It is clipped at the sides of the image: the center of a box of which one half lies to the left
    of the image would be on the right border, where there is no cell to predict it.
    """
    x1, y1, x2, y2 = box_xyxy_px
    return max(width - x2, 0), y1, min(width - x1, width), y2


def mirrored_mask(mask_hw: np.ndarray) -> np.ndarray:
    """The mask (h, w) of the mirrored image."""
    return np.ascontiguousarray(mask_hw[:, ::-1])


def _in_case_of(original: str, word: str) -> str:
    if original.isupper():
        return word.upper()
    return word.capitalize() if original[0].isupper() else word
