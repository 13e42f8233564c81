"""Generation of the demo set's expressions.

`choose_referents` chooses objects of a scene and expressions that refer to them.
`choose_expression` proposes meanings of one type (attribute, location, size or relation) until
`data.synthetic.semantics` confirms that one refers to the target alone, and `wording` puts a
meaning into words.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from data.synthetic.semantics import Description, Expression, SceneObject, fits, refers_to

# Probability that an expression type is tried first. If a scene allows none, another type is tried.
TYPE_WEIGHTS = {"attribute": 0.38, "location": 0.24, "size": 0.18, "relation": 0.20}
REFERENTS_PER_SCENE = 2
SECOND_EXPRESSION_SHARE = 0.5
EXPRESSION_TYPES = tuple(TYPE_WEIGHTS)
SIMPLE_LAST_SHARE = 0.35  # how often long descriptions are tried before simple ones
ARTICLE_SHARE, LANDMARK_ARTICLE_SHARE = 0.4, 0.8  # how often "the" is put in front
MAX_WORDS = 10

# Repeated entries are chosen more often.
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

# {x} is the noun phrase of the object, {l} that of the landmark, {c} the colour of the object and
# {y} its noun phrase without the colour.
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


@dataclass(frozen=True)
class WordedExpression:
    """An expression of the demo set.

    Attributes:
        text: the words, separated by single spaces.
        type: one of `EXPRESSION_TYPES`.
        n_fitting: number of objects of the scene that have the attributes named by the expression,
            among which its qualifier must choose.
    """

    text: str
    type: str
    n_fitting: int


@dataclass(frozen=True)
class SceneReferent:
    """An object of a scene, by its index, and the expressions that refer to it."""

    object_index: int
    expressions: list[WordedExpression]


def choose_referents(
    rng: np.random.Generator,
    objects: Sequence[SceneObject],
    kinds: Collection[str],
    side_px: int,
) -> list[SceneReferent]:
    """Chooses objects of a scene and expressions that refer to them.

    Args:
        rng: source of randomness.
        objects: objects of the scene.
        kinds: kinds of objects that may be referred to.
        side_px: side of the scene in pixels.

    Returns:
        At most `REFERENTS_PER_SCENE` referents, none if no expression is unambiguous.
    """
    referents: list[SceneReferent] = []
    free = [i for i, candidate in enumerate(objects) if candidate.kind in kinds]
    for _ in range(min(REFERENTS_PER_SCENE, len(free))):
        result = _refer_to_any(rng, objects, free, side_px)
        if result is None:
            break
        target, first = result
        expressions = [first]
        if rng.random() < SECOND_EXPRESSION_SHARE:
            result = _refer_to_any(rng, objects, [target], side_px)
            if result is not None and result[1].text != first.text:
                expressions.append(result[1])
        referents.append(SceneReferent(target, expressions))
        free.remove(target)
    return referents


def _refer_to_any(
    rng: np.random.Generator,
    objects: Sequence[SceneObject],
    targets: Sequence[int],
    side_px: int,
) -> tuple[int, WordedExpression] | None:
    """Finds an expression for one of the targets; types and targets are tried in random order."""
    weights = np.array(list(TYPE_WEIGHTS.values()))
    n_types = len(EXPRESSION_TYPES)
    for i in rng.choice(n_types, n_types, replace=False, p=weights / weights.sum()):
        for t in rng.permutation(len(targets)):
            target, name = targets[t], EXPRESSION_TYPES[i]
            expression = choose_expression(rng, name, target, objects, side_px)
            if expression is not None:
                n_fitting = sum(fits(expression.description, other) for other in objects)
                return target, WordedExpression(wording(rng, expression), name, n_fitting)
    return None


def choose_expression(
    rng: np.random.Generator,
    expression_type: str,
    target: int,
    objects: Sequence[SceneObject],
    side_px: int,
) -> Expression | None:
    """Finds a meaning of the given type that unambiguously refers to `objects[target]`.

    The qualifier of a location, size or relation is never redundant: the description alone fits
    at least two objects.

    Returns:
        The meaning, or None if there is none.
    """
    if expression_type == "attribute":
        proposals = _attribute_proposals(rng, objects[target])
    else:
        proposals = _qualified_proposals(rng, expression_type, target, objects)
    for expression in proposals:
        if refers_to(expression, objects, side_px) == target:
            return expression
    return None


def _descriptions(
    rng: np.random.Generator, target: SceneObject, attributes: Collection[str]
) -> list[Description]:
    """All descriptions of an object by some of the named attributes, in random order."""
    options = [
        (None, getattr(target, name)) if name in attributes else (None,)
        for name in ("kind", "colour", "size")
    ]
    descriptions = [Description(*values) for values in product(*options)]
    return [descriptions[i] for i in rng.permutation(len(descriptions))]


def _attribute_proposals(rng: np.random.Generator, target: SceneObject) -> Iterator[Expression]:
    for description in _descriptions(rng, target, ("kind", "colour", "size")):
        if description != Description():
            yield Expression(description)


def _qualified_proposals(
    rng: np.random.Generator, expression_type: str, target: int, objects: Sequence[SceneObject]
) -> Iterator[Expression]:
    """Yields expressions with a qualifier, usually with simple descriptions first."""
    kind, colour = objects[target].kind, objects[target].colour
    attributes = ("kind", "colour") if expression_type == "size" else ("kind", "colour", "size")
    descriptions = _descriptions(rng, objects[target], attributes)
    # "square left of …" is more common than "shape left of …" and than long descriptions.
    rank = {Description(kind=kind): 0, Description(kind=kind, colour=colour): 1}
    descriptions.sort(key=lambda d: rank.get(d, 2 + int(d == Description())))
    if rng.random() < SIMPLE_LAST_SHARE:
        descriptions.reverse()
    qualifiers = [key for key in QUALIFIED_FORMS if key[0] in _QUALIFIERS_OF[expression_type]]
    qualifiers = [qualifiers[i] for i in rng.permutation(len(qualifiers))]
    landmarks: list[Description | None] = [None]
    if expression_type == "relation":
        landmarks = [*_landmarks(rng, target, objects)]
    for description in descriptions:
        if sum(fits(description, other) for other in objects) < 2:
            continue
        for (qualifier, value), landmark in product(qualifiers, landmarks):
            yield Expression(description, qualifier, value, landmark)


def _landmarks(
    rng: np.random.Generator, target: int, objects: Sequence[SceneObject]
) -> list[Description]:
    """A description of each other object that is unique by kind, colour or both."""
    landmarks = []
    for i in rng.permutation(len(objects)):
        if i == target:
            continue
        for description in _descriptions(rng, objects[i], ("kind", "colour")):
            if sum(fits(description, other) for other in objects) == 1:
                landmarks.append(description)
                break
    return landmarks


def wording(rng: np.random.Generator, expression: Expression) -> str:
    """Puts a meaning into at most `MAX_WORDS` lower-case words, separated by single spaces."""
    text = _random_wording(rng, expression)
    while len(text.split()) > MAX_WORDS:  # A shorter wording always exists.
        text = _random_wording(rng, expression)
    return text


def _random_wording(rng: np.random.Generator, expression: Expression) -> str:
    description = expression.description
    parts = {"x": _noun_phrase(rng, description)}
    forms: Sequence[str]
    if expression.qualifier:
        forms = QUALIFIED_FORMS[expression.qualifier, expression.value]
    elif description.colour and description.kind:
        forms = PLAIN_COLOUR_FORMS
        parts["y"] = _noun_phrase(rng, Description(description.kind, size=description.size))
        parts["c"] = _pick(rng, COLOUR_WORDS[description.colour])
    else:
        forms = PLAIN_FORMS
    if expression.landmark is not None:
        article = "the " if rng.random() < LANDMARK_ARTICLE_SHARE else ""
        # "circle above the red one" would mean a red circle, so a landmark is never "one".
        parts["l"] = article + _noun_phrase(rng, expression.landmark, ANY_NOUN)
    article = "the " if rng.random() < ARTICLE_SHARE else ""
    return article + _pick(rng, forms).format(**parts)


def _noun_phrase(
    rng: np.random.Generator,
    description: Description,
    any_noun: Sequence[str] = (*ANY_NOUN, "one"),
) -> str:
    words = []
    if description.size:
        words.append(_pick(rng, SIZE_WORDS[description.size]))
    if description.colour:
        words.append(_pick(rng, COLOUR_WORDS[description.colour]))
    if description.kind:
        words.append(_pick(rng, NOUNS[description.kind]))
    else:
        words.append(_pick(rng, any_noun if words else ANY_NOUN))
    return " ".join(words)


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def vocabulary() -> list[str]:
    """All words that occur in expressions, sorted."""
    phrases = ["the one", *ANY_NOUN, *PLAIN_FORMS, *PLAIN_COLOUR_FORMS]
    for choices in (NOUNS, COLOUR_WORDS, SIZE_WORDS, QUALIFIED_FORMS):
        phrases.extend(phrase for phrases_of_key in choices.values() for phrase in phrases_of_key)
    words = {word for phrase in phrases for word in phrase.split() if not word.startswith("{")}
    return sorted(words)
