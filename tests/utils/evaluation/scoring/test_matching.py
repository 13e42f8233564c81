"""Which expression a prediction belongs to, and which ones are left over."""

import time

import pytest

from config.errors import UserError
from data.loading.annotations import Referent
from data.preparation.sidecars.ids import ReferentIds
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
IDS = {
    11: ReferentIds(11, (71,), ((1, "red box"), (2, "left one"))),
    12: ReferentIds(12, (72,), ((3, "Red  Box"), (4, "blue box"), (5, "blue box"))),
    13: ReferentIds(13, ("73_1",), ((6, "cat"),)),  # The line was edited since.
}
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
        row(3, image="/data/images/x/a.png", expression="blue box"),
    ]
    matches = match(rows, SETS)
    assert numbers(matches) == [None, 2, None, 3, 3, 1]
    assert matches.sets[0].missing == ['x/a.png: "red box"', 'x/a.png: "Red  Box"']
    assert matches.duplicate == matches.unknown == []


def test_equal_expressions_are_answered_in_the_order_of_the_set():
    red = {"image": "x/a.png", "expression": "red box"}
    assert numbers(match([row(1, **red)], SETS))[:3] == [1, None, 1]
    assert numbers(match([row(1, **red), row(2, **red)], SETS))[:3] == [1, None, 2]
    matches = match([row(n, **red) for n in (1, 2, 3)], SETS)
    assert numbers(matches)[:3] == [1, None, 2]
    assert matches.duplicate == ["f:3"]


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
    assert matches.duplicate == ["f:4", "f:5"]


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
    assert {key: counts[key]["count"] for key in ("missing", "duplicate", "unknown")} == {
        "missing": 5, "duplicate": 0, "unknown": 5,
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


def test_paths_are_compared_from_their_end():
    """No other image of the same name takes a prediction, and longer paths are found."""
    names = ("val/1.jpg", "x/a.png", "y/a.png", "z/w/b.png", "b.png")
    sets = [[Referent(name, BOX, 0, i, ("dog",)) for i, name in enumerate(names)]]
    paths = ("train/1.jpg", "/data/x/a.png", "./y/a.png", "/z/w/b.png", "w/b.png", "q/b.png", ".")
    matches = match([row(n, image=p, expression="dog") for n, p in enumerate(paths)], sets)
    assert numbers(matches) == [None, 1, 2, 3, 4]
    assert matches.duplicate == ["f:5"]
    assert matches.unknown == [
        'f:0: no image is named "train/1.jpg"', 'f:6: no image is named "."',
    ]  # fmt: skip


def test_images_of_coco_are_found_by_their_id():
    """Systems that were made for COCO of 2017 name the same images without the year."""
    names = ("COCO_train2014_000000000009.jpg", "000000000008.jpg", "1.jpg",
             "COCO_train2014_000000000007.jpg", "COCO_val2014_000000000007.jpg")  # fmt: skip
    sets = [[Referent(name, BOX, 0, i, ("dog",)) for i, name in enumerate(names)]]
    paths = ("train2017/000000000009.jpg", "COCO_train2014_000000000008.jpg", "000000000001.jpg",
             "000000000007.jpg", "COCO_val2014_000000000007.jpg")  # fmt: skip
    matches = match([row(n, image=p, expression="dog") for n, p in enumerate(paths)], sets)
    assert numbers(matches) == [0, 1, None, None, 4]
    assert matches.unknown == [f'f:{n}: no image is named "{paths[n]}"' for n in (2, 3)]


def test_fewer_rows_than_equal_expressions_leave_none_without_an_answer():
    sets = [[Referent("a.png", BOX, 0, 1, ("dog", "Dog", "cat", "dog "))]]
    rows = [row(n, image="a.png", expression="dog") for n in range(4)]
    assert numbers(match(rows[:1], sets)) == [0, 0, None, 0]
    assert numbers(match(rows[:2], sets)) == [0, 1, None, 1]
    assert numbers(match(rows[:3], sets)) == [0, 1, None, 2]
    matches = match(rows, sets)
    assert numbers(matches) == [0, 1, None, 2]
    assert matches.duplicate == ["f:3"]


OWN_IDS = {
    5: ReferentIds(5, (), ((70, "red box"),), "id"),
    6: ReferentIds(6, (), ((5, "dog"),), "id"),
}


def test_ids_of_expressions_are_those_that_were_recorded():
    """Not the mask-ids, which an import counts from 1."""
    rows = [row(1, sample_id=5), row(2, sample_id=70, expression="Red box"), row(3, sample_id=6)]
    matches = match(rows, ONE_EACH, OWN_IDS)
    assert numbers(matches) == [2, 1]
    assert matches.unknown == ["f:3: no expression has the id 6"]
    (unknown,) = match([rows[0], row(4, sample_id=5, expression="cat")], ONE_EACH, OWN_IDS).unknown
    assert unknown == 'f:4: the expression with id 5 is "dog", not "cat"'
    for sets, ids in (
        (ONE_EACH, None),
        (SETS, None),
        (SETS, IDS),
    ):  # Those are no ids of this kind.
        with pytest.raises(UserError, match=r"f:1: key 'id' names one expression, as in Ref-L4, b"):
            match([row(1, sample_id=1)], sets, ids)


def test_ids_of_expressions_count_beside_other_keys():
    rows = [
        row(1, sample_id=70, image="a.png", expression="red box"),
        row(2, sample_id=70, image="a.png", expression="dog"),
        row(3, sample_id=5, ref_id=5),
        row(4, sample_id=9, image="a.png", expression="dog"),
    ]
    matches = match(rows, ONE_EACH, OWN_IDS)
    assert numbers(matches) == [1, None]
    assert matches.unknown == [
        'f:2: the expression with id 70 is "red box", not "dog"',
        "f:3: the expression with id 5 is not that of the referent with mask-id 5",
        "f:4: no expression has the id 9",
    ]
    for sets, ids in ((ONE_EACH, None), (ONE_EACH, {}), (SETS, IDS)):  # Numbers of the user's own.
        other = row(1, sample_id=1, image=sets[0][0].image, expression="red box")
        assert numbers(match([other], sets, ids))[0] == 1


def test_ids_of_expressions_without_a_target_are_those_of_their_kind():
    """An entry of gRefCOCO without annotations is no own data."""
    ids = {5: ReferentIds(5, (8,), ((11, "red box"),)), 6: ReferentIds(6, (), ((12, "dog"),))}
    assert numbers(match([row(1, sent_id=11), row(2, sent_id=12)], ONE_EACH, ids)) == [1, 2]
    with pytest.raises(UserError, match=r"f:1: key 'id' names one expression, as in Ref-L4, but"):
        match([row(1, sample_id=12)], ONE_EACH, ids)


def test_rows_that_name_an_expression_more_closely_come_first():
    of_image = row(1, image="x/a.png", expression="red box")
    closer = row(2, ref_id=12, expression="red box")
    for rows in ([of_image, closer], [closer, of_image]):
        matches = match(rows, SETS)
        assert numbers(matches)[:3] == [1, None, 2]
        assert matches.duplicate == []


def test_thousands_of_expressions_of_an_image():
    sets = [[Referent("a.png", BOX, 0, i, (f"dog {i}",)) for i in range(8_000)]]
    ids = {i: ReferentIds(i, (), ((i + 7, f"dog {i}"),)) for i in range(8_000)}
    started = time.process_time()
    for named in (
        [{"image": "a.png", "expression": f"dog {i}"} for i in range(8_000)],
        [{"image": "a.png", "ref_id": i, "expression": f"dog {i}"} for i in range(8_000)],
        [{"image": "a.png", "sent_id": i + 7} for i in range(8_000)],
    ):
        rows = [row(i, **keys) for i, keys in enumerate(named)]
        assert numbers(match(rows, sets, ids)) == list(range(8_000))
    assert time.process_time() - started < 10


def test_thousands_of_rows():
    """In a time that grows with their number, by every key."""
    sets = [[Referent(f"{i // 5}.png", BOX, 0, i, (f"dog {i}",)) for i in range(8_000)]]
    ids = {i: ReferentIds(i, (), ((i + 7, f"dog {i}"),), "id") for i in range(8_000)}
    started = time.process_time()
    rows = [row(i, sample_id=i + 7) for i in range(8_000)]
    assert numbers(match(rows, sets, ids)) == list(range(8_000))
    rows = [row(i, image=f"/x/{i // 5}.png", expression=f"Dog  {i}") for i in range(8_000)]
    assert numbers(match(rows, sets)) == list(range(8_000))
    assert time.process_time() - started < 10


def test_a_referent_with_several_expressions_needs_one():
    with pytest.raises(UserError, match=r"f:1: .* mask-id 11 has several expressions; add the key"):
        match([row(1, ref_id=11)], SETS)


def test_rows_of_which_none_belongs_to_the_sets_are_refused():
    rows = [row(n, image="c.png", expression="dog") for n in (1, 2)]
    with pytest.raises(UserError, match=r'f:1 and all other rows .*: no image is named "c\.png"; '):
        match(rows, SETS)


def test_rows_are_found_by_the_ids_of_the_data_set():
    rows = [
        row(1, sent_id=2),
        row(2, sent_id=5),
        row(3, ann_id="73_1"),
        row(4, ann_id=72, expression="red box"),
        row(5, sent_id=1, image="a.png", ref_id=11, ann_id=71, expression="RED box"),
    ]
    matches = match(rows, SETS, IDS)
    # Equal expressions of a referent have different ids.
    assert numbers(matches) == [5, 1, 4, None, 2, 3]
    assert matches.duplicate == matches.unknown == []


def test_keys_that_contradict_one_another_name_no_expression():
    rows = [
        row(1, sent_id=6),  # That of an expression which was edited.
        row(2, ann_id=99, expression="dog"),
        row(3, sent_id=1, ref_id=12),
        row(4, sent_id=1, image="b.png"),
        row(5, sent_id=1, expression="left one"),
        row(6, ref_id=12, ann_id=71, expression="red box"),
        row(7, ann_id=71, expression="dog"),
        row(8, sent_id=1),
    ]
    matches = match(rows, SETS, IDS)
    assert numbers(matches) == [8] + [None] * 5
    assert matches.unknown == [
        "f:1: no expression has the sent_id 6",
        "f:2: no object has the ann_id 99",
        "f:3: the expression with sent_id 1 is not that of the referent with mask-id 12",
        'f:4: the expression with sent_id 1 is not in "b.png"',
        'f:5: the expression with sent_id 1 is "red box", not "left one"',
        "f:6: the referent with mask-id 12 is not that of the object with ann_id 71",
        'f:7: the object with ann_id 71 has no expression "dog"',
    ]


def test_ids_that_the_sets_do_not_have_are_refused():
    with pytest.raises(UserError, match=r"f:1: key 'sent_id': there is no ids\.jsonl .* prepare"):
        match([row(1, sent_id=1)], SETS)
    with pytest.raises(UserError, match=r"f:1: the object with ann_id 71 has several expressions"):
        match([row(1, ann_id=71)], SETS, IDS)


def test_a_referent_of_two_splits_is_found_in_both():
    sets = [SETS[0][2:], SETS[0][2:]]
    matches = match([row(1, ref_id=13)], sets)
    assert [numbers(matches, which) for which in (0, 1)] == [[1], [1]]
