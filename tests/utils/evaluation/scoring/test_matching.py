"""Which expression a prediction belongs to, and which ones are left over."""

import pytest

from config.errors import UserError
from data.loading.annotations import Referent
from utils.evaluation.scoring.matching import match
from utils.evaluation.scoring.rows import Row

BOX = (0, 0, 10, 10)
SETS = [
    [
        Referent("x/a.png", BOX, 0, 11, ("red box", "left one")),
        Referent("x/a.png", BOX, 0, 12, ("Red  Box", "blue box", "blue box")),
        Referent("b.png", BOX, 0, 13, ("dog",)),
    ]
]
ONE_EACH = [[Referent("a.png", BOX, 0, 5, ("red box",)), Referent("a.png", BOX, 0, 6, ("dog",))]]


def row(number, **named):
    return Row(f"f:{number}", **named)


def numbers(matches, which=0):
    """The number of the row of each expression, or None."""
    rows = matches.sets[which].rows
    return [None if found is None else int(found.where.split(":")[1]) for found in rows]


def test_rows_are_found_by_image_and_expression():
    rows = [
        row(1, image="b.png", expression="DOG "),
        row(2, image="x/a.png", expression="left one"),
        row(3, image="/data/images/a.png", expression="blue box"),
    ]
    matches = match(rows, SETS)
    assert numbers(matches) == [None, 2, None, 3, 3, 1]
    assert matches.sets[0].missing == ['x/a.png: "red box"', 'x/a.png: "Red  Box"']
    assert matches.doubled == matches.unknown == []


def test_equal_expressions_are_answered_in_the_order_of_the_set():
    red = {"image": "x/a.png", "expression": "red box"}
    assert numbers(match([row(1, **red)], SETS))[:3] == [1, None, 1]
    assert numbers(match([row(1, **red), row(2, **red)], SETS))[:3] == [1, None, 2]
    matches = match([row(n, **red) for n in (1, 2, 3)], SETS)
    assert numbers(matches)[:3] == [1, None, 2]
    assert matches.doubled == ["f:3"]


def test_rows_are_found_by_mask_id():
    rows = [
        row(1, ref_id=12, expression="red box"),
        row(2, ref_id=13),
        row(3, ref_id=11, expression="red box", image="a.png"),
        row(4, ref_id=11, expression="red box"),
        row(5, image="x/a.png", expression="red box"),  # Both of them have a prediction.
    ]
    matches = match(rows, SETS)
    assert numbers(matches) == [3, None, 1, None, None, 2]
    assert matches.doubled == ["f:4", "f:5"]


def test_rows_of_other_sets_are_named():
    rows = [
        row(1, ref_id=13),
        row(2, ref_id=99, expression="dog"),
        row(3, ref_id=13, image="x/a.png", expression="dog"),
        row(4, image="c.png", expression="dog"),
        row(5, image="b.png", expression="cat"),
        row(6, ref_id=13, expression="cat"),
    ]
    matches = match(rows, SETS)
    assert numbers(matches) == [None] * 5 + [1]
    assert matches.unknown == [
        "f:2: no referent has the mask-id 99",
        'f:3: the referent with mask-id 13 is not in "x/a.png"',
        'f:4: no image is named "c.png"',
        'f:5: b.png has no expression "cat"',
        'f:6: the referent with mask-id 13 has no expression "cat"',
    ]
    counts = matches.to_json(0)
    assert counts["rows"] == 6
    assert {key: counts[key]["count"] for key in ("missing", "doubled", "unknown")} == {
        "missing": 5, "doubled": 0, "unknown": 5,
    }  # fmt: skip
    missing, unknown = matches.warnings()
    assert missing.startswith(
        'expressions without a prediction, which count as wrong: 5 (x/a.png: "'
    )
    assert unknown.endswith("and 2 more)")


def test_rows_for_several_sets():
    matches = match([row(1, ref_id=13), row(2, ref_id=6)], [SETS[0], ONE_EACH[0]])
    assert numbers(matches, 0) == [None] * 5 + [1]
    assert numbers(matches, 1) == [None, 2]
    assert matches.unknown == []


def test_names_of_files_that_are_in_two_folders_are_not_guessed():
    sets = [[Referent(f"{name}/a.png", BOX, 0, i, ("dog",)) for i, name in enumerate("xy")]]
    matches = match([row(1, image="x/a.png", expression="dog"),
                     row(2, image="a.png", expression="dog")], sets)  # fmt: skip
    assert numbers(matches) == [1, None]
    assert matches.unknown == ['f:2: no image is named "a.png"']


def test_ids_of_expressions():
    assert numbers(match([row(1, sample_id=6)], ONE_EACH)) == [None, 1]
    assert match([row(1, sample_id=6), row(2, sample_id=7)], ONE_EACH).unknown == [
        "f:2: no expression has the id 7"
    ]
    with pytest.raises(UserError, match=r"f:1: key 'id' names one expression, as in Ref-L4, but"):
        match([row(1, sample_id=11)], SETS)


def test_a_referent_with_several_expressions_needs_one():
    with pytest.raises(UserError, match=r"f:1: .* mask-id 11 has several expressions; add the key"):
        match([row(1, ref_id=11)], SETS)


def test_rows_of_which_none_belongs_to_the_sets_are_refused():
    rows = [row(n, image="c.png", expression="dog") for n in (1, 2)]
    with pytest.raises(UserError, match=r'f:1 and all other rows .*: no image is named "c\.png"; '):
        match(rows, SETS)
