"""How the expressions of a set are divided into groups."""

import types

import pytest

from tests.utils.evaluation.cases import case
from utils.evaluation.breakdown import groups as groups_module
from utils.evaluation.breakdown.groups import DIVISIONS, division
from utils.evaluation.breakdown.words import ATTRIBUTES, RELATIONS, SPATIAL


def groups_of(name, categories=types.MappingProxyType({}), **changes):
    return [*DIVISIONS[name].groups_of(case(**changes), categories)]


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 33, 31), "small"),  # 1023
        ((5, 5, 37, 37), "medium"),  # 1024
        ((0, 0, 95, 97), "medium"),  # 9215
        ((1, 1, 97, 97), "large"),  # 9216
    ],
)
def test_sizes_of_boxes_have_the_bounds_of_coco(box, size):
    assert groups_of("box_size", true_box_xyxy=box) == [size]
    assert groups_of("size", true_box_xyxy=box) == []  # Without a mask.


@pytest.mark.parametrize(
    ("area", "size"), [(1023, "small"), (1024, "medium"), (9215, "medium"), (9216, "large")]
)
def test_sizes_of_objects_are_those_of_their_masks(area, size):
    """A thin diagonal object is small, however large its box."""
    box = (0, 0, 400, 400)
    assert groups_of("size", true_box_xyxy=box, true_px=area) == [size]
    assert groups_of("box_size", true_box_xyxy=box, true_px=area) == ["large"]


@pytest.mark.parametrize(
    ("count", "group"),
    [(1, "1-2 words"), (2, "1-2 words"), (3, "3-5 words"), (5, "3-5 words"), (6, "6-10 words"),
     (10, "6-10 words"), (11, "11+ words"), (60, "11+ words")],
)  # fmt: skip
def test_lengths(count, group):
    assert groups_of("length", expression=" ".join(["man"] * count)) == [group]
    assert groups_of("length", expression=" , ".join(["Man's"] * count) + " .") == [group]


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("man", ["none of these"]),
        ("the leftovers", ["none of these"]),  # No part of a word counts.
        ("...", ["none of these"]),
        ("man on LEFT", ["spatial"]),
        ("guy in red, shirt", ["attribute"]),
        ("dog behind the couch", ["relation"]),
        ("car in front of bus", ["relation"]),
        ("car in front", ["spatial"]),
        ("hat on top of the top shelf", ["spatial", "relation"]),
        ("box in back of, on top of", ["relation"]),
        ("side of the road", ["spatial", "relation"]),
        ("traffic light", ["none of these"]),
        ("the Traffic Lights", ["none of these"]),
        ("light traffic", ["attribute"]),
        ("the red car left of the man", ["spatial", "attribute", "relation"]),
        ("carleft of", ["none of these"]),
    ],
)
def test_kinds_of_words(expression, kinds):
    assert groups_of("words", expression=expression) == kinds


def test_no_word_is_of_two_kinds():
    assert len(SPATIAL | ATTRIBUTES | RELATIONS) == sum(map(len, (SPATIAL, ATTRIBUTES, RELATIONS)))


def test_categories_have_names_or_numbers():
    names = {"0": "person", "1": "bicycle"}
    assert groups_of("category", names, category=1) == ["bicycle"]
    assert groups_of("category", names, category=2) == ["category 2"]
    assert groups_of("category", image="COCO_train2014_000000581857.jpg") == ["category 0"]


def test_a_name_is_registered_once(monkeypatch):
    monkeypatch.setattr(groups_module, "DIVISIONS", dict(DIVISIONS))
    division("mine", label="mine")(lambda case, categories: ("all",))
    register = division("mine", label="mine")
    with pytest.raises(ValueError, match="'mine' is registered already"):
        register(lambda case, categories: ("all",))
