"""Expressions without a target, beside annotation lines."""

import json

import pytest

from data.loading.errors import DataError
from data.preparation.sidecars.no_target import NoTarget, read_no_target, write_no_target

ENTRIES = [
    NoTarget(3, ("val",), "a.png", ("größe", "left")),
    NoTarget(2, ("testA", "testB"), "b.png", ("dog",)),
]


def test_the_entries_of_a_split_come_back(tmp_path):
    assert read_no_target(tmp_path / "val.txt") is None
    write_no_target(tmp_path, ENTRIES)
    assert read_no_target(tmp_path / "val.txt") == ENTRIES[:1]
    assert read_no_target(tmp_path / "testB.txt") == ENTRIES[1:]
    assert read_no_target(tmp_path / "train.txt") == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"ref_id": 3}, "'ref_id' 3 is also that of an earlier line"),
        ({"ref_id": None}, "key 'ref_id' is missing"),
        ({"splits": "val"}, "key 'splits' is"),
        ({"image": ""}, "key 'image' is"),
        ({"expressions": []}, "key 'expressions' is"),
    ],
)
def test_damaged_lines_are_named(tmp_path, change, fault):
    write_no_target(tmp_path, ENTRIES[:1])
    line = {"ref_id": 9, "splits": ["val"], "image": "a.png", "expressions": ["dog"]} | change
    with (tmp_path / "no_target.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(DataError, match=rf"no_target\.jsonl:2: .*{fault}"):
        read_no_target(tmp_path / "val.txt")
