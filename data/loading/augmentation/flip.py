"""Mirroring of a sample from left to right, its expression included.

An expression is mirrored by exchanging "left" and "right". Where that would not describe the
mirrored image, `mirrored_expression` says so, and the sample stays as it is: "right" in "right
behind the car" may be no direction, a number on a shirt is mirrored itself, and a clock is read
from one side only.
"""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

_STEMS = ("", "most", "ward", "wards", "hand", "handed", "side")
_PLACES = ("top", "bottom", "upper", "lower", "far", "front", "back", "center", "middle", "mid")
_PAIRS = [
    *((f"left{end}", f"right{end}") for end in _STEMS),
    *((f"{place}left", f"{place}right") for place in _PLACES),
]
_OPPOSITE = {a: b for left, right in _PAIRS for a, b in ((left, right), (right, left))}
# Words that contain "left" or "right" by chance.
_HARMLESS = re.compile("[a-z]*(?:bright|fright|upright|wright|copyright|cleft)[a-z]*")

# Directions that are nothing else, such as "on the far right", in the same form as below.
_CLEAR = re.compile(
    r"\b((?:(?:on|at|to|from|in) (?:(?:the|his|her|its|their|your|our|my) )?"
    r"|of (?:the|his|her|its|their|your|our|my) )"
    r"(?:(?:far|very|top|bottom|upper|lower|back|front) )?)(?:left|right)\b"
    r"(?! (?:overs?(?! t?here)|angled?|angles|of way|way|side up)\b)"
)
# Words that are directions, but may be something else, in an expression in lower case whose words
# are separated by single spaces, without hyphens.
_AMBIGUOUS = re.compile(
    r"""
    # A number or a text in the image, or "3 o'clock"; not "2nd".
    [#"“”] | \b (?! [0-9]+ (?: st | nd | rd | th )\b ) \w*[0-9]
    | \b(?: numbers? | digits? | letters? | words? | texts? | spell(?:s|ed|ing) | reads?
        | say(?:s|ing) | written | writing | labell?ed | initials | logos? )\b
    | o['’´`]?\s?clock\b | clockwise | \b(?: clocks? | maps? )\b
    | \b(?: north | south )? (?: east | west ) (?: ern | ward | wards )?\b
    | \b(?: l | r | lt | rt | lft | rgt | rght | lef | letf | lfet | righ | rigt | rigth | rihgt
        | rite | lefts | rights )\b         # misspelled or abbreviated
    # An adverb, as in "right behind" and "all right".
    | \b(?: all | just | alright | is\ it | that['’]?s )\ right\b
    | \bright\ (?: behind | next | beside | above | below | under | underneath | beneath | over
        | in | inside | outside | on | onto | into | at | by | before | after | near | between
        | up | down | there | here | now | through | across | against | along | around | away
        | where | angled? | angles | way | of\ way | side\ up | out | off | about | as | when
        | the | wrong )\b
    | \bright\ to\b (?!\ (?:left | § ))
    # A form of "to leave", as in "the last one left" and "left over".
    | \b(?: is | are | was | were | be | been | being | has | have | had | who | that | just | got
        | gets | getting | he | she | it | they | what['’]?s | one | ones | only | slices?
        | pieces? ) \ left\b (?!\ of\b | \ side\b | \ hand\b | \ most\b)
    | \bwhat(?: ['’]?s | \ is | \ was )? \ left\b
    | \b(?: last | remaining | only | still | any | some | more | much | few | half | nothing )\b
        (?:\ \S+)* \ left\b
    | \bleft\ (?: over | overs | behind | alone | open | out | off | in | by | at | uneaten
        | untouched | empty | vacant | unattended | standing | sitting | lying | parked | hanging
        | running | unused | on | from | for | a | an | the | his | her | their | its )\b
    | \bleft\ to\b (?!\ (?: right | § | the )\b)
    | \bleftovers?\b
    """,
    re.VERBOSE,
)
_LETTERS = re.compile(r"[^\W\d_]+")


def mirrored_expression(expression: str) -> str | None:
    """The expression for the mirrored image: "left" and "right" exchanged.

    Case, punctuation and spaces are kept, so that the words have vectors as before.

    Returns:
        The expression; None if it is ambiguous what describes the mirrored image.
    """
    normal = " ".join(expression.lower().replace("-", " ").split())
    if _AMBIGUOUS.search(_CLEAR.sub(r"\1§", normal)):
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
    """The box in the mirrored image of `width` pixels; left, top, right, bottom as before."""
    x1, y1, x2, y2 = box_xyxy_px
    return width - x2, y1, width - x1, y2


def mirrored_mask(mask_hw: np.ndarray) -> np.ndarray:
    """The mask (h, w) of the mirrored image."""
    return np.ascontiguousarray(mask_hw[:, ::-1])


def _in_case_of(original: str, word: str) -> str:
    if original.isupper():
        return word.upper()
    return word.capitalize() if original[0].isupper() else word
