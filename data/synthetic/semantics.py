"""What an expression of the demo set means: the checker that keeps the set unambiguous.

An expression is accepted for a scene only when `refers_to` finds exactly one object. Words such as
"small", "left" or "above" have no sharp border, so every predicate answers with three values and a
case that a person might read either way counts as `MAYBE`, which spoils the expression. Nothing
here knows how scenes are composed or how sentences are worded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Truth(IntEnum):
    """Kleene's three values; "and" is the minimum."""

    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(frozen=True)
class SceneObject:
    """An object as it is seen: all lengths in image pixels, origin in the top left corner.

    The four edges are those of the tight box around the visible pixels (right and bottom lie
    behind the last one); `hull_side_px` is the square root of the area of the outline's convex
    hull.
    """

    kind: str
    colour: str
    size: str
    left_px: float
    top_px: float
    right_px: float
    bottom_px: float
    hull_side_px: float

    @property
    def center_x_px(self) -> float:
        return (self.left_px + self.right_px) / 2

    @property
    def center_y_px(self) -> float:
        return (self.top_px + self.bottom_px) / 2

    @property
    def long_side_px(self) -> float:
        return max(self.right_px - self.left_px, self.bottom_px - self.top_px)


@dataclass(frozen=True)
class Description:
    """Attributes an object must have; None leaves an attribute open."""

    kind: str | None = None
    colour: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Expression:
    """A described object, narrowed by at most one qualifier.

    qualifier   value                                            example
    ""          ""                                               red circle
    "extreme"   "left", "right", "top", "bottom"                 leftmost star
    "side"      "left", "right", "top", "bottom"                 star on the left
    "corner"    "top left", "top right", "bottom left", ...      circle at the bottom left
    "middle"    ""                                               circle in the middle
    "size"      "largest", "smallest"                            largest square
    "relation"  "left", "right", "above", "below" (+ landmark)   square right of the blue ring
    """

    what: Description
    qualifier: str = ""
    value: str = ""
    landmark: Description | None = None


# Fractions of the side of the scene. Between the bounds for YES and for NO lies MAYBE.
# The leftmost object is ahead by its centre and by its left edge.
EXTREME_CENTER_MARGIN, EXTREME_EDGE_MARGIN = 0.09, 0.04
SIDE_YES, SIDE_NO = 0.40, 0.55
CORNER_YES, CORNER_NO = 0.36, 0.58
MIDDLE_YES, MIDDLE_NO = 0.13, 0.25
RELATION_NEAR, RELATION_NONE = 0.12, 0.03
# |offset across| / offset along: up to the first it is plainly that way, from the second it is not.
RELATION_YES_SLOPE, RELATION_NO_SLOPE = 0.6, 2.0
SIZE_RATIO = 1.25


def fits(what: Description, thing: SceneObject) -> bool:
    """Whether `thing` has every attribute that `what` names (attributes are never in doubt)."""
    return (
        what.kind in (None, thing.kind)
        and what.colour in (None, thing.colour)
        and what.size in (None, thing.size)
    )


def judge(expression: Expression, objects: Sequence[SceneObject], side_px: int) -> list[Truth]:
    """How far each object of a square scene of `side_px` pixels is what the expression means.

    Raises ValueError for an expression that the table of `Expression` does not have.
    """
    described = [i for i, thing in enumerate(objects) if fits(expression.what, thing)]
    if (expression.landmark is None) == (expression.qualifier == "relation"):
        raise ValueError(f"a relation and nothing else has a landmark, got {expression}")
    narrow = _QUALIFIERS.get(expression.qualifier)
    if narrow is None:
        raise ValueError(
            f"qualifier {expression.qualifier!r} is unknown; known are {sorted(_QUALIFIERS)}"
        )
    try:
        narrowed = narrow(expression, objects, described, side_px)
    except KeyError:
        raise ValueError(
            f"value {expression.value!r} means nothing for qualifier {expression.qualifier!r}"
        ) from None
    verdicts = [Truth.NO] * len(objects)
    for i, truth in zip(described, narrowed, strict=True):
        verdicts[i] = truth
    return verdicts


def refers_to(expression: Expression, objects: Sequence[SceneObject], side_px: int) -> int | None:
    """The index of the one object that is surely meant, or None where there is any doubt."""
    verdicts = judge(expression, objects, side_px)
    if verdicts.count(Truth.YES) == 1 and verdicts.count(Truth.MAYBE) == 0:
        return verdicts.index(Truth.YES)
    return None


def _between(value: float, yes: float, no: float) -> Truth:
    """YES up to `yes`, NO from `no` on, MAYBE between."""
    if value <= yes:
        return Truth.YES
    return Truth.NO if value >= no else Truth.MAYBE


def _superlative(described: Sequence[int], beats: Callable[[int, int], bool]) -> list[Truth]:
    """The described object that surely beats all others; if there is none, any may be meant."""
    for i in described:
        if all(beats(i, j) for j in described if j != i):
            return [Truth.YES if j == i else Truth.NO for j in described]
    return [Truth.MAYBE] * len(described)


# How far the centre and the outer edge of an object lie towards a side: the larger the further.
_TOWARDS = {
    "left": lambda thing: (-thing.center_x_px, -thing.left_px),
    "right": lambda thing: (thing.center_x_px, thing.right_px),
    "top": lambda thing: (-thing.center_y_px, -thing.top_px),
    "bottom": lambda thing: (thing.center_y_px, thing.bottom_px),
}
# How far the centre is from a side: from 0 to 1 at the opposite one.
_DISTANCE_TO = {
    "left": lambda thing, side_px: thing.center_x_px / side_px,
    "right": lambda thing, side_px: 1 - thing.center_x_px / side_px,
    "top": lambda thing, side_px: thing.center_y_px / side_px,
    "bottom": lambda thing, side_px: 1 - thing.center_y_px / side_px,
}
# Offset (dx, dy) from the landmark -> (along, across) the direction; y points down.
_ALONG = {
    "left": lambda dx, dy: (-dx, dy),
    "right": lambda dx, dy: (dx, dy),
    "above": lambda dx, dy: (-dy, dx),
    "below": lambda dx, dy: (dy, dx),
}


def _judge_plain(_expression, _objects, described, _side_px):
    return [Truth.YES] * len(described)


def _judge_extreme(expression, objects, described, side_px):
    towards = _TOWARDS[expression.value]

    def beats(i: int, j: int) -> bool:
        (center, edge), (other_center, other_edge) = towards(objects[i]), towards(objects[j])
        return (
            center >= other_center + EXTREME_CENTER_MARGIN * side_px
            and edge >= other_edge + EXTREME_EDGE_MARGIN * side_px
        )

    return _superlative(described, beats)


def _judge_side(expression, objects, described, side_px):
    distance = _DISTANCE_TO[expression.value]
    return [_between(distance(objects[i], side_px), SIDE_YES, SIDE_NO) for i in described]


def _judge_corner(expression, objects, described, side_px):
    vertical, _, horizontal = expression.value.partition(" ")
    to_edge = (_DISTANCE_TO[vertical], _DISTANCE_TO[horizontal])
    return [
        min(_between(distance(objects[i], side_px), CORNER_YES, CORNER_NO) for distance in to_edge)
        for i in described
    ]


def _judge_middle(_expression, objects, described, side_px):
    def off_center(thing: SceneObject) -> float:
        dx, dy = thing.center_x_px / side_px - 0.5, thing.center_y_px / side_px - 0.5
        return max(abs(dx), abs(dy))

    return [_between(off_center(objects[i]), MIDDLE_YES, MIDDLE_NO) for i in described]


def _judge_size(expression, objects, described, _side_px):
    def surely_larger(a: SceneObject, b: SceneObject) -> bool:
        # Shapes of different kind are compared by eye in more than one way: all must agree.
        return (
            a.long_side_px >= SIZE_RATIO * b.long_side_px
            and a.hull_side_px >= SIZE_RATIO * b.hull_side_px
        )

    beats = {
        "largest": lambda i, j: surely_larger(objects[i], objects[j]),
        "smallest": lambda i, j: surely_larger(objects[j], objects[i]),
    }[expression.value]
    return _superlative(described, beats)


def _judge_relation(expression, objects, described, side_px):
    along_across = _ALONG[expression.value]
    landmarks = [i for i, thing in enumerate(objects) if fits(expression.landmark, thing)]
    if len(landmarks) != 1:
        return [Truth.MAYBE] * len(described)
    mark = objects[landmarks[0]]

    def lies(thing: SceneObject) -> Truth:
        along, across = along_across(
            (thing.center_x_px - mark.center_x_px) / side_px,
            (thing.center_y_px - mark.center_y_px) / side_px,
        )
        if along <= RELATION_NONE:
            return Truth.NO
        truth = _between(abs(across) / along, RELATION_YES_SLOPE, RELATION_NO_SLOPE)
        return min(truth, Truth.MAYBE) if along < RELATION_NEAR else truth

    return [lies(objects[i]) for i in described]


_QUALIFIERS = {
    "": _judge_plain,
    "extreme": _judge_extreme,
    "side": _judge_side,
    "corner": _judge_corner,
    "middle": _judge_middle,
    "size": _judge_size,
    "relation": _judge_relation,
}
