"""Rows of Parquet files whose columns have other types than expected."""

import json

import pytest
from hypothesis import given

from config.errors import UserError
from data.preparation.raw import refcoco_m, refcoco_parquet
from data.preparation.referring_sets import ids_of
from data.preparation.sidecars.ids import read_ids, write_ids
from tests.fuzz.mutation import damaged_value

ANNOTATION = {"id": 501, "bbox": [1.0, 2, 30, 20], "segmentation": [[1, 2, 31, 2, 31, 22]]}
IMAGE = {"id": 7, "file_name": "a.jpg", "width": 60, "height": 40}
ROW = {
    "ref_id": 9000, "ann_id": 501, "image_id": 7, "split": "validation", "category_id": 1,
    "sentences": [{"sent": "the man", "sent_id": 3, "raw": None}],
    "raw_anns": ANNOTATION, "raw_image_info": IMAGE,
}  # fmt: skip
SAMPLE = {
    "id": 31, "category": "person", "sentences": ["left man"], "bbox": [1.0, 2.0, 30.0, 20.0],
    "mask": {"size": [40, 60], "counts": "1"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ids")


def check(referent_of, folder):
    """A referent that is read has ids that come back; faults are errors for people."""
    try:
        referent = referent_of()
    except UserError:
        return
    write_ids(folder, [ids_of(referent)])
    assert read_ids(folder)[referent.ref_id].ann_ids == referent.ann_ids


@given(damaged_value(ROW))
def test_rows_of_refcoco(folder, row):
    given = dict.fromkeys(ROW) | (row if isinstance(row, dict) else {})
    for key in ("raw_anns", "raw_image_info"):
        if isinstance(given[key], dict):
            given[key] = json.dumps(given[key])
    splits = ("train", "val", "testA", "testB")
    check(lambda: refcoco_parquet._referent(given, splits, "a.parquet: row 0"), folder)


@given(damaged_value(SAMPLE))
def test_samples_of_refcoco_m(folder, sample):
    check(lambda: refcoco_m._referent(sample, "a.jpg", "a.parquet: row 0: samples[0]"), folder)
