"""Meaning of the demo set's expressions; borderline cases are ambiguous."""

import pytest

from data.synthetic.semantics import Description, Expression, SceneObject, Truth, judge, refers_to

SIDE = 100
NO, MAYBE, YES = Truth.NO, Truth.MAYBE, Truth.YES
SQUARE = Description(kind="square")


def thing(x, y, side=20, kind="square", colour="red", size="small", hull=None):
    half = side / 2
    return SceneObject(kind, colour, size, x - half, y - half, x + half, y + half, hull or side)


def test_attributes():
    objects = [thing(20, 20), thing(50, 50, colour="blue"), thing(80, 80, kind="star")]
    assert judge(Expression(Description()), objects, SIDE) == [YES, YES, YES]
    assert judge(Expression(Description(colour="red")), objects, SIDE) == [YES, NO, YES]
    assert refers_to(Expression(Description("square", "red", "small")), objects, SIDE) == 0
    assert refers_to(Expression(SQUARE), objects, SIDE) is None
    assert refers_to(Expression(Description(size="large")), objects, SIDE) is None


@pytest.mark.parametrize(("value", "meant"), [("left", 0), ("right", 2), ("top", 1), ("bottom", 2)])
def test_extremes(value, meant):
    objects = [thing(20, 50), thing(40, 20), thing(80, 70), thing(5, 95, kind="star", side=8)]
    assert refers_to(Expression(SQUARE, "extreme", value), objects, SIDE) == meant


def test_extreme_needs_a_clear_lead():
    near = [thing(30, 20), thing(36, 70)]
    assert judge(Expression(SQUARE, "extreme", "left"), near, SIDE) == [MAYBE, MAYBE]
    # Ahead by the center, but the large square reaches further.
    large = [thing(70, 20, side=10), thing(50, 70, side=60)]
    assert refers_to(Expression(SQUARE, "extreme", "right"), large, SIDE) is None


@pytest.mark.parametrize(
    ("value", "verdicts"),
    [
        ("left", [YES, MAYBE, NO]),
        ("right", [NO, MAYBE, YES]),
        ("top", [YES, MAYBE, NO]),
        ("bottom", [NO, MAYBE, YES]),
    ],
)
def test_sides(value, verdicts):
    objects = [thing(30, 30), thing(50, 50), thing(70, 70)]
    assert judge(Expression(SQUARE, "side", value), objects, SIDE) == verdicts


def test_corners_and_middle():
    objects = [thing(20, 20), thing(80, 20), thing(20, 80), thing(80, 80), thing(52, 46)]
    for i, corner in enumerate(("top left", "top right", "bottom left", "bottom right")):
        verdicts = judge(Expression(SQUARE, "corner", corner), objects, SIDE)
        assert verdicts[i] is YES
        assert [verdict for verdict in verdicts if verdict is YES] == [YES]
    assert judge(Expression(SQUARE, "corner", "top left"), [thing(45, 20)], SIDE) == [MAYBE]
    assert refers_to(Expression(SQUARE, "middle"), objects, SIDE) == 4
    assert judge(Expression(SQUARE, "middle"), [thing(50, 70)], SIDE) == [MAYBE]


def test_sizes_must_differ_in_every_measure():
    objects = [thing(20, 20, side=20), thing(50, 50, side=30), thing(80, 80, side=40)]
    assert refers_to(Expression(SQUARE, "size", "largest"), objects, SIDE) == 2
    assert refers_to(Expression(SQUARE, "size", "smallest"), objects, SIDE) == 0
    assert refers_to(Expression(SQUARE, "size", "largest"), [thing(20, 20)] * 2, SIDE) is None
    thin = [thing(20, 20, side=20), thing(70, 70, side=40, hull=21)]
    assert judge(Expression(SQUARE, "size", "largest"), thin, SIDE) == [MAYBE, MAYBE]


@pytest.mark.parametrize(
    ("value", "meant"), [("left", 1), ("right", 2), ("above", 3), ("below", 4)]
)
def test_relations(value, meant):
    ring = thing(50, 50, kind="ring")
    objects = [ring, thing(20, 52), thing(80, 48), thing(48, 20), thing(52, 80)]
    expression = Expression(SQUARE, "relation", value, Description(kind="ring"))
    assert refers_to(expression, objects, SIDE) == meant


def test_borderline_relations():
    ring = thing(50, 50, kind="ring")
    right = Expression(SQUARE, "relation", "right", Description(kind="ring"))
    assert judge(right, [ring, thing(70, 75)], SIDE) == [NO, MAYBE]  # as much below as right
    assert judge(right, [ring, thing(58, 50)], SIDE) == [NO, MAYBE]  # hardly beside it
    assert judge(right, [ring, thing(60, 90)], SIDE) == [NO, NO]
    assert judge(right, [ring, thing(80, 50), thing(95, 50)], SIDE) == [NO, YES, YES]
    # Two rings, or none: whose right?
    assert judge(right, [ring, ring, thing(80, 50)], SIDE) == [NO, NO, MAYBE]
    assert judge(right, [thing(80, 50)], SIDE) == [MAYBE]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        (Expression(SQUARE, "behind"), "behind"),
        (Expression(SQUARE, "extreme", "north"), "north"),
        (Expression(SQUARE, "corner", "top"), "top"),
        (Expression(SQUARE, "relation", "left"), "landmark"),
        (Expression(SQUARE, "side", "left", SQUARE), "landmark"),
    ],
)
def test_unknown_expressions_are_refused(expression, found):
    with pytest.raises(ValueError, match=found):
        judge(expression, [thing(50, 50)], SIDE)
