"""COCO files from strangers, through each of their three uses."""

import contextlib
import json

import pytest
from hypothesis import given

from data.loading.errors import DataError
from data.preparation.coco import read_coco
from data.preparation.detection import read_instances
from data.preparation.own.coco_entries import read_coco_entries
from tests.fuzz.mutation import damaged_bytes, damaged_value
from tests.limits import memory_within

TABLES = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48, "split": "val"},
        {"id": "b", "file_name": "COCO_train2014_000000000002.jpg", "width": 9.0, "height": 8},
    ],
    "annotations": [
        {
            **{"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 2.5, 30, 20], "iscrowd": 0},
            **{"segmentation": [[1, 2, 31, 2, 31, 22]], "expressions": ["red kite", "kite"]},
            **{"attributes": {"colour": "red", "age": 3}},
        },
        {
            **{"id": 8, "image_id": "b", "category_id": 5, "bbox": [0, 0, 9, 8]},
            **{"segmentation": {"size": [8, 9], "counts": [70, 2]}, "captions": ["a box"]},
            **{"attributes": {"colour": None}, "split": "train"},
        },
    ],
    "categories": [{"id": 3, "name": "kite"}, {"id": 5, "name": "box"}],
}
EXPRESSIONS = {"ann_id": 7, "expressions": ["the kite"], "split": "val"}


@pytest.fixture(autouse=True)
def bounded_memory():
    with memory_within(200_000_000):
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("coco") / "instances.json"


def read_in_all_ways(path):
    """Each use either reads the file or names it."""
    for read in (read_coco, read_instances, read_coco_entries):
        with contextlib.suppress(DataError):
            read(path)


def test_the_undamaged_file_is_read(path):
    path.write_text(json.dumps(TABLES))
    assert len(read_coco(path).annotations) == 2
    assert len(read_instances(path, ["000000000002.jpg"]).images) == 1
    own = read_coco_entries(path)
    assert (len(own.entries), own.faults) == (2, [])


@given(content=damaged_bytes(json.dumps(TABLES).encode()))
def test_damaged_bytes(path, content):
    path.write_bytes(content)
    read_in_all_ways(path)


@given(tables=damaged_value(TABLES))
def test_damaged_fields(path, tables):
    path.write_text(json.dumps(tables))
    read_in_all_ways(path)


@given(line=damaged_value(EXPRESSIONS))
def test_damaged_expressions_beside_the_file(path, line):
    path.write_text(json.dumps(TABLES))
    beside = path.with_name("expressions.jsonl")
    beside.write_text(json.dumps(line))
    data = read_coco_entries(path, beside)
    assert data.entries or data.faults
