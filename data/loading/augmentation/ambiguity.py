"""Which expressions may not describe the mirrored image once left and right are exchanged.

Patterns match expressions in lower case in which single spaces separate words, also those that a
hyphen separated.
"""

import re


def _any(words: str) -> str:
    """Matches one of some words, or of pieces of patterns, that spaces separate."""
    return f"(?:{'|'.join(words.split())})"


_ARTICLES = "the a an this these that his her its their your our my"
# Directions that are nothing else, such as "on the far right", whatever follows but some words, as
# in "the left over pizza". "From right behind" and "at right angles" have no article.
_CLEAR = re.compile(
    rf"\b((?:on|{_any('on to from in of at')} {_any('the his her its their your our my')}"
    rf"|{_any('first second third fourth fifth sixth [0-9]+(?:st|nd|rd|th) next two three')} from)"
    rf"(?: {_any('far very top bottom upper lower back front')})?) (?:left|right)\b"
    r"(?! (?:overs?(?! (?:there|here|by)\b)|angles?|angled|mind|answer|size|of way"
    r"|side (?:up|out|down))\b)"
)
_AMBIGUOUS = [
    # What is read in the image, which is mirrored itself: numbers, texts, clocks, maps.
    r"(?![0-9]+(?:st|nd|rd|th)\b)\w*[0-9]\w*",
    _any("numbers? digits? letters? words? texts? spell(?:s|ed|ing) reads? say(?:s|ing) written")
    + "|"
    + _any("writing labell?ed initials logos? titled? entitled captions? named clocks? maps?"),
    "[a-z] shaped?",
    "o['’´`]? ?clock",
    r"\w*clockwise",
    "(?:north|south)? ?(?:east|west)(?:ern|ward|wards)?",
    # Places whose names do not follow the image.
    "(?:driver|passenger)(?:['’]?s)? side|port side|starboard|(?:first|third|1st|3rd) base(?:man)?",
    "short ?stop",
    # Misspelled or abbreviated.
    _any("l r lt rt lft rgt rght lef letf lfet righ rigt rigth rihgt rite lefts rights"),
    # "Right" as an adverb or adjective, as in "all right", "right behind" and "right angle".
    _any("all just alright that['’]?s it['’]?s you['’]?re yeah yes not quite half") + " right",
    "is it right",
    r"right ?\?",
    "right "
    + _any(
        "behind next beside besides above below under underneath beneath over in infront inside "
        "outside on onto upon atop into at by before after near nearest between beyond past among "
        "amongst amid within opposite alongside adjacent close up down there here now through "
        "across against along around away ahead where when while as angled? angles way out off "
        "about the wrong for from answer size kind amount time smack dab this"
    ),
    "right (?:back (?:there|here|in|at|behind)|of way|side (?:up|out|down))",
    "right to(?! left| §)",
    # "Left" as a form of "to leave": after those who leave or were left, ...
    _any(
        "is are was were be been being has have had having who that which just already never not "
        "got get gets getting i you we he she it they someone somebody everyone everybody "
        "what['’]?s ones? slices? pieces? bites? crumbs? pizzas? cakes? sandwich(?:es)? food bread "
        "donuts? doughnuts? cookies? drinks? juice wine beer milk coffee water room space time"
    )
    + r" left(?! (?:of|side|hand|most)\b)",
    # ... after quantities, as in "the last one left" and "what is left of the sandwich", ...
    _any(
        "last only remaining remains rest few some any enough still nothing much half part "
        "bits? portions? no none all what whatever what['’]?s everything anything something lone "
        "sole"
    )
    + r"\b.* left",
    "(?:slices?|pieces?|bites?|crumbs?) left of",
    "little left",
    "(?:one|two|three|four|five|six|several|many|most) left$",
    # ... and before what was left, or how, as in "left over" and "the man left standing".
    "left "
    + _any(
        f"{_ARTICLES} some overs? behind alone open out off in by on for from at after before when "
        "where while until as so like about around uneaten untouched empty unattended vacant blank "
        "bare ajar alive intact available free idle dry wet unoccupied uncovered unused unmade "
        "unfinished unlocked parked abandoned closed discarded exposed scattered stranded "
        "forgotten stacked dropped tied turned plugged locked hung folded attached finished "
        "standing sitting lying laying hanging running burning waiting leaning floating dangling "
        "showing remaining rotting cooling drying sleeping resting playing charging soaking "
        "kneeling"
    ),
    "left to(?! right| the right)",
    "leftovers?",
]
_QUOTED = r"""[#"“”]|(?<!\w)['‘’](?=\w)"""  # A text in the image, too.
_RULES = re.compile("|".join([_QUOTED, *(rf"(?<!\w)(?:{rule})(?!\w)" for rule in _AMBIGUOUS)]))
_SEPARATORS = re.compile(r"[\s‐-―-]+")  # Spaces and hyphens.


def is_ambiguous(expression: str) -> bool:
    """Whether exchanging "left" and "right" may not give a description of the mirrored image.

    Such as where they are no directions, or where something else in the expression is one or is
    read in the image. The rules are made for English.
    """
    normal = _SEPARATORS.sub(" ", expression.lower()).strip()
    return _RULES.search(_CLEAR.sub(r"\1 §", normal)) is not None
