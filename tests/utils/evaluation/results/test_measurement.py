"""Lines of a dump, and by what they are recognized."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.utils.evaluation.cases import case
from utils.evaluation.results.measurement import (
    DUMPED,
    EARLIER,
    dump_lines,
    encode_mask,
    in_order,
    is_dump,
    is_dumped,
)


def test_a_line_has_plain_values_in_pixels_of_the_image():
    box = tuple(np.array([1.23456, 2, 3, 4], np.float32))
    row = case(7, box_xyxy=box, box_xyxy_input=tuple(np.array([1, 2, 3, 4], np.int32))).to_json()
    assert json.loads(json.dumps(row)) == {
        "image": "a.png", "expression": "red box", "box_xyxy": [1.235, 2, 3, 4],
        "box_xyxy_input": [1, 2, 3, 4], "score": 0.5, "det_iou": 0.8, "seg_iou": 0.75,
        "ref_id": 7, "true_box_xyxy": [0, 0, 10, 10], "intersection": 75, "union": 100,
    }  # fmt: skip
    assert tuple(row) == DUMPED


@pytest.mark.parametrize(
    ("task", "nothing"),
    [("REC", {"seg_iou", "intersection", "union"}), ("RES", {"det_iou"})],
)
def test_what_was_not_compared_is_null(task, nothing):
    row = case(score=None, box_xyxy_input=(1, 2, 3, 4), tasks=(task,)).to_json()
    assert {key for key, value in row.items() if value is None} == nothing | {"score"}


def test_masks_are_run_lengths_of_coco():
    mask = np.random.default_rng(0).random((30, 40)) < 0.3
    encoded = json.loads(json.dumps(case(run_lengths=encode_mask(mask)).to_json()))["mask"]
    assert encoded["size"] == [30, 40]
    np.testing.assert_array_equal(coco_mask.decode(encoded), mask)


def test_dumps_of_all_versions_are_recognized(tmp_path):
    row = case().to_json()
    assert is_dumped(row)
    assert is_dumped(row | {"mask": {}})
    assert is_dumped({key: row[key] for key in EARLIER})
    for other in (
        row | {"more": 1},
        {"mask": {}},
        [],
        None,
        {key: row[key] for key in EARLIER[1:]},
    ):
        assert not is_dumped(other)
    path = tmp_path / "dump.jsonl"
    assert not is_dump(path)
    for content, expected in (
        (b"", True),
        (dump_lines([case(), case(1)]), True),
        (b"{}\n" + dump_lines([case()]), False),
        (b"\xff\n", False),
    ):
        path.write_bytes(content)
        assert is_dump(path) is expected
    (tmp_path / "link.jsonl").symlink_to(path)
    assert not is_dump(tmp_path / "link.jsonl")


def test_measurements_are_put_in_the_order_of_the_set():
    assert [one.index for one in in_order([case(2), case(0), case(1)])] == [0, 1, 2]
