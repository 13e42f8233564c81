"""How the expressions of a set are divided into groups."""

import pytest

from data.preparation.referring_sets import _COCO_CATEGORY
from tests.utils.evaluation.cases import case
from utils.evaluation.breakdown import groups as groups_module
from utils.evaluation.breakdown.groups import DIVISIONS, division
from utils.evaluation.breakdown.words import ATTRIBUTES, COCO_CATEGORIES, RELATIONS, SPATIAL


def groups_of(name, **changes):
    return [*DIVISIONS[name].groups_of(case(**changes))]


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 33, 31), "small"),  # 1023
        ((5, 5, 37, 37), "medium"),  # 1024
        ((0, 0, 95, 97), "medium"),  # 9215
        ((1, 1, 97, 97), "large"),  # 9216
    ],
)
def test_sizes_are_those_of_coco(box, size):
    assert groups_of("size", true_box_xyxy=box) == [size]


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
        ("car in front of bus", ["spatial", "relation"]),
        ("the red car left of the man", ["spatial", "attribute", "relation"]),
        ("carleft of", ["none of these"]),
    ],
)
def test_kinds_of_words(expression, kinds):
    assert groups_of("words", expression=expression) == kinds


def test_no_word_is_of_two_kinds():
    assert len(SPATIAL | ATTRIBUTES | RELATIONS) == sum(map(len, (SPATIAL, ATTRIBUTES, RELATIONS)))


def test_categories_have_names_on_images_of_coco():
    name = "COCO_train2014_000000581857.jpg"
    # 18 and 90 are the ids of dog and toothbrush in COCO's files.
    assert groups_of("category", image=name, category=_COCO_CATEGORY[18]) == ["dog"]
    assert groups_of("category", image=name, category=_COCO_CATEGORY[90]) == ["toothbrush"]
    assert groups_of("category", image=name, category=80) == ["category 80"]
    assert groups_of("category", category=16) == ["category 16"]
    assert len({*COCO_CATEGORIES}) == len(COCO_CATEGORIES) == 80


def test_a_name_is_registered_once(monkeypatch):
    monkeypatch.setattr(groups_module, "DIVISIONS", dict(DIVISIONS))
    division("mine", label="mine")(lambda case: ("all",))
    register = division("mine", label="mine")
    with pytest.raises(ValueError, match="'mine' is registered already"):
        register(lambda case: ("all",))
