"""The language of the demo set: which expressions name an object, and how they are worded.

`choose_referents` picks what is said in a scene, `choose_expression` proposes meanings of one sort
(attribute, location, size or relation) until `data.synthetic.semantics` agrees that exactly the
target is meant, and `wording` turns a meaning into words.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from data.synthetic.semantics import Description, Expression, SceneObject, fits, refers_to

# How often a sort of expression is tried first. Where a scene has none of it, another one is said.
SORT_WEIGHTS = {"attribute": 0.38, "location": 0.24, "size": 0.18, "relation": 0.20}
REFERENTS_PER_SCENE = 2
SECOND_EXPRESSION_SHARE = 0.5
SORTS = tuple(SORT_WEIGHTS)
MAX_WORDS = 10

# What a word list repeats is said more often.
NOUNS = {
    "circle": ("circle", "circle", "circle", "disk"),
    "ring": ("ring",),
    "heart": ("heart",),
    "moon": ("moon", "moon", "moon", "crescent"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross",),
}
ANY_NOUN = ("shape", "shape", "object", "thing")
COLOUR_WORDS = {
    "red": ("red",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink",),
    "white": ("white",),
}
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "large": ("large", "big")}

# {x} is the described object, {l} the landmark. The sorts other than these stand as they are.
PLAIN_FORMS = ("{x}",)
PLAIN_COLOUR_FORMS = ("{x}", "{x}", "{x}", "{y} that is {c}", "{c} colored {y}")
QUALIFIED_FORMS = {
    ("extreme", "left"): ("leftmost {x}", "{x} furthest to the left", "{x} on the far left"),
    ("extreme", "right"): ("rightmost {x}", "{x} furthest to the right", "{x} on the far right"),
    ("extreme", "top"): ("topmost {x}", "highest {x}", "uppermost {x}"),
    ("extreme", "bottom"): ("lowest {x}", "{x} furthest down"),
    ("side", "left"): ("left {x}", "{x} on the left", "{x} on the left side"),
    ("side", "right"): ("right {x}", "{x} on the right", "{x} on the right side"),
    ("side", "top"): ("top {x}", "{x} at the top", "upper {x}"),
    ("side", "bottom"): ("bottom {x}", "{x} at the bottom", "lower {x}"),
    ("middle", ""): ("{x} in the middle", "{x} in the center", "center {x}"),
    ("size", "largest"): ("largest {x}", "biggest {x}"),
    ("size", "smallest"): ("smallest {x}",),
    ("relation", "left"): ("{x} left of {l}", "{x} to the left of {l}"),
    ("relation", "right"): ("{x} right of {l}", "{x} to the right of {l}"),
    ("relation", "above"): ("{x} above {l}", "{x} over {l}"),
    ("relation", "below"): ("{x} below {l}", "{x} under {l}", "{x} beneath {l}"),
} | {
    ("corner", f"{v} {h}"): (
        f"{{x}} at the {v} {h}",
        f"{{x}} in the {v} {h} corner",
        f"{v} {h} {{x}}",
        f"{'upper' if v == 'top' else 'lower'} {h} {{x}}",
    )
    for v, h in product(("top", "bottom"), ("left", "right"))
}
_QUALIFIERS_OF = {
    "location": ("extreme", "side", "corner", "middle"),
    "size": ("size",),
    "relation": ("relation",),
}


def choose_referents(rng, objects, kinds, side_px: int) -> list[dict] | None:
    """Objects to speak of and what is said of them; None if too few can be named.

    Each is {"object": index, "expressions": [text, ...], "sorts": [sort, ...], "fitting": [n, ...]}
    where "fitting" counts the objects that have the attributes which the expression gives its
    object, that is among how many the rest of the expression has to choose.
    """
    referents = []
    free = [i for i in range(len(objects)) if objects[i].kind in kinds]
    for _ in range(min(REFERENTS_PER_SCENE, len(free))):
        said = _say_something(rng, objects, free, side_px)
        if said is None:
            break
        target, *first = said
        said = [first]
        if rng.random() < SECOND_EXPRESSION_SHARE:
            second = _say_something(rng, objects, [target], side_px)
            if second is not None and second[1] != first[0]:
                said.append(second[1:])
        texts, sorts, fitting = (list(column) for column in zip(*said, strict=True))
        referents.append(
            {"object": target, "expressions": texts, "sorts": sorts, "fitting": fitting}
        )
        free.remove(target)
    return referents or None


def _say_something(rng, objects, targets, side_px: int) -> tuple[int, str, str, int] | None:
    """(target, text, sort, fitting) of the first sort, in a weighted random order, that works."""
    weights = np.array(list(SORT_WEIGHTS.values()))
    for s in rng.choice(len(SORTS), len(SORTS), replace=False, p=weights / weights.sum()):
        for t in rng.permutation(len(targets)):
            expression = choose_expression(rng, SORTS[s], targets[t], objects, side_px)
            if expression is not None:
                fitting = sum(fits(expression.what, thing) for thing in objects)
                return targets[t], wording(rng, expression), SORTS[s], fitting
    return None


def choose_expression(
    rng: np.random.Generator,
    sort: str,
    target: int,
    objects: Sequence[SceneObject],
    side_px: int,
) -> Expression | None:
    """A meaning of the given sort that surely names `objects[target]`; None if there is none.

    The qualifier of a location, size or relation is always needed: without it the description
    would fit at least two objects.
    """
    proposals = _plain(rng, objects[target])
    if sort != "attribute":
        proposals = _qualified(rng, sort, target, objects)
    for expression in proposals:
        if refers_to(expression, objects, side_px) == target:
            return expression
    return None


def _descriptions(rng, thing: SceneObject, attributes: Sequence[str]) -> list[Description]:
    """Every way to describe `thing` by some of the named attributes, in random order."""
    options = [
        (None, getattr(thing, name)) if name in attributes else (None,)
        for name in ("kind", "colour", "size")
    ]
    found = [Description(*values) for values in product(*options)]
    return [found[i] for i in rng.permutation(len(found))]


def _plain(rng, thing: SceneObject) -> Iterator[Expression]:
    for what in _descriptions(rng, thing, ("kind", "colour", "size")):
        if what != Description():
            yield Expression(what)


def _qualified(rng, sort: str, target: int, objects) -> Iterator[Expression]:
    """Qualified proposals, the simple descriptions of the target first."""
    thing = objects[target]
    attributes = ("kind", "colour") if sort == "size" else ("kind", "colour", "size")
    descriptions = _descriptions(rng, thing, attributes)
    # "square left of …" is the usual wording; "shape" and long descriptions are the rarer ones.
    rank = {Description(kind=thing.kind): 0, Description(kind=thing.kind, colour=thing.colour): 1}
    descriptions.sort(key=lambda what: rank.get(what, 2 + int(what == Description())))
    if rng.random() < 0.35:
        descriptions.reverse()
    qualifiers = [key for key in QUALIFIED_FORMS if key[0] in _QUALIFIERS_OF[sort]]
    qualifiers = [qualifiers[i] for i in rng.permutation(len(qualifiers))]
    landmarks: list[Description | None] = [None]
    if sort == "relation":
        landmarks = _landmarks(rng, target, objects)
    for what in descriptions:
        if sum(fits(what, other) for other in objects) < 2:
            continue
        for (qualifier, value), landmark in product(qualifiers, landmarks):
            yield Expression(what, qualifier, value, landmark)


def _landmarks(rng, target: int, objects) -> list[Description]:
    """One description for every other object that kind, colour or both single out."""
    landmarks = []
    for i in rng.permutation(len(objects)):
        if i == target:
            continue
        for what in _descriptions(rng, objects[i], ("kind", "colour")):
            if sum(fits(what, other) for other in objects) == 1:
                landmarks.append(what)
                break
    return landmarks


def wording(rng: np.random.Generator, expression: Expression) -> str:
    """The meaning in words: lower case, at most MAX_WORDS of them, parted by single blanks."""
    text = _word(rng, expression)
    while len(text.split()) > MAX_WORDS:  # every meaning has a shorter wording
        text = _word(rng, expression)
    return text


def _word(rng, expression: Expression) -> str:
    what = expression.what
    parts = {"x": _noun_phrase(rng, what)}
    if expression.qualifier:
        forms = QUALIFIED_FORMS[expression.qualifier, expression.value]
    elif what.colour and what.kind:
        forms = PLAIN_COLOUR_FORMS
        parts["y"] = _noun_phrase(rng, Description(kind=what.kind, size=what.size))
        parts["c"] = _pick(rng, COLOUR_WORDS[what.colour])
    else:
        forms = PLAIN_FORMS
    if expression.landmark is not None:
        article = "the " if rng.random() < 0.8 else ""
        # Not "the red one": after "circle above" it would mean a red circle.
        parts["l"] = article + _noun_phrase(rng, expression.landmark, ANY_NOUN)
    article = "the " if rng.random() < 0.4 else ""
    return article + _pick(rng, forms).format(**parts)


def _noun_phrase(rng, what: Description, any_noun=(*ANY_NOUN, "one")) -> str:
    words = []
    if what.size:
        words.append(_pick(rng, SIZE_WORDS[what.size]))
    if what.colour:
        words.append(_pick(rng, COLOUR_WORDS[what.colour]))
    if what.kind:
        words.append(_pick(rng, NOUNS[what.kind]))
    else:
        words.append(_pick(rng, any_noun if words else ANY_NOUN))
    return " ".join(words)


def _pick(rng, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def vocabulary() -> list[str]:
    """Every word the demo set can say, sorted."""
    phrases = ["the one", *ANY_NOUN, *PLAIN_FORMS, *PLAIN_COLOUR_FORMS]
    for table in (NOUNS, COLOUR_WORDS, SIZE_WORDS, QUALIFIED_FORMS):
        phrases.extend(phrase for choices in table.values() for phrase in choices)
    words = {word for phrase in phrases for word in phrase.split() if not word.startswith("{")}
    return sorted(words)
