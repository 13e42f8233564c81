"""Words that make an expression spatial, an attribute or a relation.

An expression can be of several kinds, or of none: "the man" is of none, "the red car left of the
man" of all three.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Where something is in the image, or which one of a row.
SPATIAL = _words(
    """left right top bottom upper lower middle center centre central front back rear side corner
    edge leftmost rightmost topmost bottommost foreground background far nearest closest
    farthest furthest first second third fourth fifth last 1st 2nd 3rd 4th 5th"""
)
# What something looks like: color, size, shape, material, pattern, age, state.
ATTRIBUTES = _words(
    """red orange yellow green blue purple violet pink brown black white gray grey beige tan gold
    golden silver maroon teal turquoise navy blond blonde brunette colored colorful dark darker
    darkest light lighter bright clear transparent big bigger biggest large larger largest small
    smaller smallest little tiny huge giant tall taller tallest short shorter shortest long longer
    longest wide narrow thick thin fat skinny round square rectangular triangular oval curved
    striped stripes plaid checkered spotted dotted polka plain wooden wood metal metallic plastic
    leather brick stone furry fluffy hairy bald bearded old older oldest young younger
    youngest new empty full open closed broken whole dirty clean wet dry blurry hidden"""
)
# What relates something to something else. "in", "on", "of" and "at" are left out: they are in
# too many expressions of every kind.
RELATIONS = _words(
    """behind beside between among near next against above below under underneath beneath over
    around inside outside facing toward towards across along opposite holding carrying riding
    touching wearing eating pulling pushing leaning hugging kissing with without by"""
)
# These relate, too, and are of several words.
RELATING_PHRASES = (
    "in front of", "in back of", "on top of", "left of", "right of", "side of", "close to",
    "attached to",
)  # fmt: skip
# Their words alone say something else: "front" of "in front of the bus" is no place in the image.
FIXED_PHRASES = ("in front of", "in back of", "on top of", "traffic light", "traffic lights")
_WORD = re.compile(r"[\w']+")


def words_of(expression: str) -> list[str]:
    """The words of an expression in lower case, without punctuation."""
    return _WORD.findall(expression.lower())


def single_words(words: list[str]) -> frozenset[str]:
    """The words that count one by one: all but those of `FIXED_PHRASES`."""
    text = f" {' '.join(words)} "
    for phrase in FIXED_PHRASES:
        text = text.replace(f" {phrase} ", " ")
    return frozenset(text.split())


def has_phrase(words: list[str]) -> bool:
    """Whether words contain one of `RELATING_PHRASES`."""
    text = f" {' '.join(words)} "
    return any(f" {phrase} " in text for phrase in RELATING_PHRASES)
