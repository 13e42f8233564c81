"""Own data from COCO files, with expressions inside or beside them."""

import json

import numpy as np
import pytest

from tests.data.preparation.own.own_photos import (
    HEIGHT,
    SQUARE,
    WIDTH,
    Photos,
    run_lengths,
    square_mask,
)


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path)


@pytest.fixture
def coco(photos):
    """Writes a COCO file, after `change`, and returns its path."""

    def write(change=None):
        content = {
            "images": [
                {"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT},
                {"id": 2, "file_name": "b.png", "split": "val"},
            ],
            "annotations": [
                {
                    "id": 11,
                    "image_id": 1,
                    "category_id": 3,
                    "bbox": [10.5, 10, 19, 15],
                    "segmentation": [SQUARE],
                    "expressions": ["red kite"],
                },
                {
                    "id": 12,
                    "image_id": 2,
                    "segmentation": run_lengths(square_mask()),
                    "captions": ["a square", "box"],
                },
                {"id": 13, "image_id": 1, "bbox": [1, 1, 5, 5], "segmentation": []},
            ],
        }
        if change:
            change(content)
        path = photos.folder / "instances.json"
        path.write_text(json.dumps(content))
        return path

    return write


def test_a_coco_file_that_holds_expressions(photos, coco, capsys):
    assert photos.run("--coco", coco()) == 0
    (kite,), (square,) = photos.lines("train"), photos.lines("val")
    assert (kite.image, kite.mask_id, kite.category) == ("a.jpg", 11, 3)
    assert kite.box_xyxy_px == (10, 10, 30, 25)
    assert square.expressions == ("a square", "box")
    assert square.box_xyxy_px == (10, 10, 30, 25)
    np.testing.assert_array_equal(photos.mask(12), square_mask())
    assert "1 annotations without expressions were left out" in capsys.readouterr().out


def test_a_coco_file_with_expressions_beside_it(photos, coco):
    said = photos.write(
        {"ann_id": 13, "expressions": ["corner"], "split": "test"},
        {"ann_id": 11, "expressions": ["one"]},
        {"ann_id": 13, "expressions": ["upper left"]},
        name="said.jsonl",
    )
    options = ["--coco", coco(), "--expressions", said, "--masks_from_boxes"]
    assert photos.run(*options) == 0
    (corner,) = photos.lines("test")
    assert corner.expressions == ("corner", "upper left")
    assert photos.mask(13).sum() == 25
    assert photos.lines("train")[0].expressions == ("one",)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda a, i: a.update(image_id=9), "annotation 11: key 'image_id': no image has the id 9"),
        (lambda a, i: a.update(bbox=[1, 2, 0, 4]), "'bbox': it has no area: x, y, width, height"),
        (lambda a, i: a.update(bbox=[1, 2]), "'bbox': [1, 2]: four numbers [x, y, width, height]"),
        (lambda a, i: a.update(segmentation=[[1, 2]]), "'segmentation': a polygon needs"),
        (lambda a, i: a.update(segmentation=7), "'segmentation': neither polygon nor run lengths"),
        (lambda a, i: a.update(id="x"), "'id': 'x': a whole number"),
        (
            lambda a, i: i.update(width=61),
            "the file says that a.jpg has 61×40 pixels, it has 60×40",
        ),
        (lambda a, i: i.pop("file_name"), "'file_name': nothing is given"),
    ],
)
def test_faults_of_a_coco_file_name_annotation_and_key(photos, coco, capsys, change, fault):
    path = coco(lambda content: change(content["annotations"][0], content["images"][0]))
    assert photos.run("--coco", path) == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([{"ann_id": 99, "expressions": ["x"]}], ":1: key 'ann_id': the COCO file has no anno"),
        ([{"ann_id": [1], "expressions": ["x"]}], ":1: key 'ann_id'"),
        ([{"ann_id": 11}], ":1: key 'expressions': nothing"),
        (
            [{"ann_id": 11, "expressions": ["x"], "split": split} for split in ("val", "train")],
            ":2: key 'split': 'train', but an earlier line says 'val'",
        ),
    ],
)
def test_faults_of_expressions_beside_a_coco_file(photos, coco, capsys, rows, fault):
    said = photos.write(*rows, name="said.jsonl")
    assert photos.run("--coco", coco(), "--expressions", said) == 2
    assert f"{said}{fault}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "instances.json:1: not valid JSON"),
        (b"[]", "not a COCO file"),
        (b'{"images": []}', "not a COCO file"),
        (b'{"images": [{}], "annotations": []}', "not a COCO file"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_what_is_no_coco_file(photos, capsys, content, fault):
    path = photos.folder / "instances.json"
    path.write_bytes(content)
    assert photos.run("--coco", path) == 2
    assert fault in capsys.readouterr().err
