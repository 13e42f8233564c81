"""Meaning of the demo set's expressions: decides which object of a scene an expression refers to.

An expression is accepted for a scene only if `refers_to` finds exactly one object. Words such as
"small", "left" or "above" are vague, so predicates use three truth values: a case that people might
judge differently is `MAYBE`, and a single such case makes the expression ambiguous. This module is
independent of how scenes are composed and how expressions are worded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Truth(IntEnum):
    """The truth values of Kleene's three-valued logic; conjunction is the minimum."""

    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(frozen=True)
class SceneObject:
    """A visible object; lengths are in image pixels with the origin in the top-left corner.

    Attributes:
        kind, colour, size: what the object is, such as "ring", "red", "small".
        left_px, top_px, right_px, bottom_px: edges of the tight box around the visible pixels;
            right and bottom are exclusive.
        hull_side_px: square root of the area of the outline's convex hull.
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
    """Attributes that an object must have; None matches any value."""

    kind: str | None = None
    colour: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Expression:
    """The meaning of an expression: a description with at most one qualifier.

    qualifier   value                                            example
    ""          ""                                               red circle
    "extreme"   "left", "right", "top", "bottom"                 leftmost star
    "side"      "left", "right", "top", "bottom"                 star on the left
    "corner"    "top left", "top right", "bottom left", ...      circle at the bottom left
    "middle"    ""                                               circle in the middle
    "size"      "largest", "smallest"                            largest square
    "relation"  "left", "right", "above", "below" (+ landmark)   square right of the blue ring
    """

    description: Description
    qualifier: str = ""
    value: str = ""
    landmark: Description | None = None


# Thresholds as fractions of the side of the scene. Values between YES and NO thresholds are MAYBE.
# The leftmost object must lead by these margins with both its center and its left edge.
EXTREME_CENTER_MARGIN, EXTREME_EDGE_MARGIN = 0.09, 0.04
SIDE_YES, SIDE_NO = 0.40, 0.55
CORNER_YES, CORNER_NO = 0.36, 0.58
MIDDLE_YES, MIDDLE_NO = 0.13, 0.25
RELATION_NEAR, RELATION_NONE = 0.12, 0.03
# |offset across the direction| / offset along it: at most the first is YES, at least the second NO.
RELATION_YES_SLOPE, RELATION_NO_SLOPE = 0.6, 2.0
SIZE_RATIO = 1.25


def fits(description: Description, candidate: SceneObject) -> bool:
    """Whether an object has all attributes of a description; attributes are never vague."""
    return (
        description.kind in (None, candidate.kind)
        and description.colour in (None, candidate.colour)
        and description.size in (None, candidate.size)
    )


def judge(expression: Expression, objects: Sequence[SceneObject], side_px: int) -> list[Truth]:
    """Judges for each object of a scene whether the expression refers to it.

    Args:
        expression: meaning to judge.
        objects: objects of the scene.
        side_px: side of the square scene in pixels.

    Returns:
        One truth value per object.

    Raises:
        ValueError: the expression is not in the table of `Expression`.
    """
    described = [
        i for i, candidate in enumerate(objects) if fits(expression.description, candidate)
    ]
    if (expression.landmark is None) == (expression.qualifier == "relation"):
        raise ValueError(f"a relation, and only a relation, has a landmark; got {expression}")
    judge_described = _QUALIFIERS.get(expression.qualifier)
    if judge_described is None:
        raise ValueError(
            f"unknown qualifier {expression.qualifier!r}; expected one of {sorted(_QUALIFIERS)}"
        )
    try:
        truths = judge_described(expression, objects, described, side_px)
    except KeyError:
        raise ValueError(
            f"unknown value {expression.value!r} of qualifier {expression.qualifier!r}"
        ) from None
    verdicts = [Truth.NO] * len(objects)
    for i, truth in zip(described, truths, strict=True):
        verdicts[i] = truth
    return verdicts


def refers_to(expression: Expression, objects: Sequence[SceneObject], side_px: int) -> int | None:
    """Index of the object that the expression refers to; None if it is ambiguous."""
    verdicts = judge(expression, objects, side_px)
    if verdicts.count(Truth.YES) == 1 and verdicts.count(Truth.MAYBE) == 0:
        return verdicts.index(Truth.YES)
    return None


def _graded(value: float, yes: float, no: float) -> Truth:
    """YES if value ≤ `yes`, NO if value ≥ `no`, MAYBE otherwise."""
    if value <= yes:
        return Truth.YES
    return Truth.NO if value >= no else Truth.MAYBE


def _superlative(described: Sequence[int], beats: Callable[[int, int], bool]) -> list[Truth]:
    """Judges a superlative: YES for the described object that beats all others, NO for these.

    If there is no such object, all described ones are MAYBE.
    """
    for i in described:
        if all(beats(i, j) for j in described if j != i):
            return [Truth.YES if j == i else Truth.NO for j in described]
    return [Truth.MAYBE] * len(described)


# Coordinates of an object's center and outer edge in the direction of a side.
_TOWARDS = {
    "left": lambda o: (-o.center_x_px, -o.left_px),
    "right": lambda o: (o.center_x_px, o.right_px),
    "top": lambda o: (-o.center_y_px, -o.top_px),
    "bottom": lambda o: (o.center_y_px, o.bottom_px),
}
# Distance of an object's center from a side: 0 at this side, 1 at the opposite one.
_DISTANCE_TO = {
    "left": lambda o, side_px: o.center_x_px / side_px,
    "right": lambda o, side_px: 1 - o.center_x_px / side_px,
    "top": lambda o, side_px: o.center_y_px / side_px,
    "bottom": lambda o, side_px: 1 - o.center_y_px / side_px,
}
# Offset (dx, dy) from the landmark → offsets (along, across) the direction; y points down.
_ALONG = {
    "left": lambda dx, dy: (-dx, dy),
    "right": lambda dx, dy: (dx, dy),
    "above": lambda dx, dy: (-dy, dx),
    "below": lambda dx, dy: (dy, dx),
}


def _judge_plain(
    _expression: Expression,
    _objects: Sequence[SceneObject],
    described: Sequence[int],
    _side_px: int,
) -> list[Truth]:
    return [Truth.YES] * len(described)


def _judge_extreme(
    expression: Expression, objects: Sequence[SceneObject], described: Sequence[int], side_px: int
) -> list[Truth]:
    towards = _TOWARDS[expression.value]

    def beats(i: int, j: int) -> bool:
        (center, edge), (other_center, other_edge) = towards(objects[i]), towards(objects[j])
        return (
            center >= other_center + EXTREME_CENTER_MARGIN * side_px
            and edge >= other_edge + EXTREME_EDGE_MARGIN * side_px
        )

    return _superlative(described, beats)


def _judge_side(
    expression: Expression, objects: Sequence[SceneObject], described: Sequence[int], side_px: int
) -> list[Truth]:
    distance = _DISTANCE_TO[expression.value]
    return [_graded(distance(objects[i], side_px), SIDE_YES, SIDE_NO) for i in described]


def _judge_corner(
    expression: Expression, objects: Sequence[SceneObject], described: Sequence[int], side_px: int
) -> list[Truth]:
    vertical, _, horizontal = expression.value.partition(" ")
    to_edge = (_DISTANCE_TO[vertical], _DISTANCE_TO[horizontal])
    return [
        min(_graded(distance(objects[i], side_px), CORNER_YES, CORNER_NO) for distance in to_edge)
        for i in described
    ]


def _judge_middle(
    _expression: Expression, objects: Sequence[SceneObject], described: Sequence[int], side_px: int
) -> list[Truth]:
    def off_center(candidate: SceneObject) -> float:
        dx, dy = candidate.center_x_px / side_px - 0.5, candidate.center_y_px / side_px - 0.5
        return max(abs(dx), abs(dy))

    return [_graded(off_center(objects[i]), MIDDLE_YES, MIDDLE_NO) for i in described]


def _judge_size(
    expression: Expression, objects: Sequence[SceneObject], described: Sequence[int], _side_px: int
) -> list[Truth]:
    def clearly_larger(a: SceneObject, b: SceneObject) -> bool:
        # People compare the sizes of different shapes in several ways, so all measures must agree.
        return (
            a.long_side_px >= SIZE_RATIO * b.long_side_px
            and a.hull_side_px >= SIZE_RATIO * b.hull_side_px
        )

    beats = {
        "largest": lambda i, j: clearly_larger(objects[i], objects[j]),
        "smallest": lambda i, j: clearly_larger(objects[j], objects[i]),
    }[expression.value]
    return _superlative(described, beats)


def _judge_relation(
    expression: Expression, objects: Sequence[SceneObject], described: Sequence[int], side_px: int
) -> list[Truth]:
    along_across = _ALONG[expression.value]
    assert expression.landmark is not None  # `judge` has checked it.
    landmarks = [other for other in objects if fits(expression.landmark, other)]
    if len(landmarks) != 1:
        return [Truth.MAYBE] * len(described)
    landmark = landmarks[0]

    def judge_object(candidate: SceneObject) -> Truth:
        along, across = along_across(
            (candidate.center_x_px - landmark.center_x_px) / side_px,
            (candidate.center_y_px - landmark.center_y_px) / side_px,
        )
        if along <= RELATION_NONE:
            return Truth.NO
        truth = _graded(abs(across) / along, RELATION_YES_SLOPE, RELATION_NO_SLOPE)
        return min(truth, Truth.MAYBE) if along < RELATION_NEAR else truth

    return [judge_object(objects[i]) for i in described]


_QUALIFIERS = {
    "": _judge_plain,
    "extreme": _judge_extreme,
    "side": _judge_side,
    "corner": _judge_corner,
    "middle": _judge_middle,
    "size": _judge_size,
    "relation": _judge_relation,
}
