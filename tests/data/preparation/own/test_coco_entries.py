"""Import of own data from COCO files, with expressions inside or in a separate file."""

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
    assert "1 annotation without expressions skipped" in capsys.readouterr().out


def test_a_coco_file_with_expressions_in_a_separate_file(photos, coco, capsys):
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
    assert "the expressions of 2 annotations were ignored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda a, i: a.update(image_id=9), "annotation 11: key 'image_id' is 9, but must be the"),
        (
            lambda a, i: a.update(bbox=[1, 2, 0, 4]),
            "'bbox' is [1, 2, 0, 4], but must be [x, y, w",
        ),
        (lambda a, i: a.update(bbox=[1, 2]), "'bbox' is [1, 2], but must be four numbers [x, y, w"),
        (lambda a, i: a.update(segmentation=[[1, 2]]), "'segmentation': a polygon needs"),
        (lambda a, i: a.update(segmentation=7), "'segmentation': neither a polygon nor run length"),
        (lambda a, i: a.update(id="x"), "'id' is \"x\", but must be a whole number"),
        (
            lambda a, i: a.update(expressions="red kite"),
            "annotation 11: key 'expressions' is \"red",
        ),
        (lambda a, i: i.update(width=61), "that a.jpg has 61×40 pixels, but it has 60×40"),
        (lambda a, i: i.update(width="60"), "annotation 11: key 'width' is \"60\", but must be a"),
        (lambda a, i: i.pop("file_name"), "'file_name' is missing"),
    ],
)
def test_faults_of_a_coco_file_name_annotation_and_key(photos, coco, capsys, change, fault):
    path = coco(lambda content: change(content["annotations"][0], content["images"][0]))
    assert photos.run("--coco", path) == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([{"ann_id": 99, "expressions": ["x"]}], ":1: key 'ann_id' is 99, but must be the id of a"),
        ([{"ann_id": [1], "expressions": ["x"]}], ":1: key 'ann_id'"),
        ([{"ann_id": 11}], ":1: key 'expressions' is missing"),
        ([{"ann_id": 11, "expressions": "x"}], ":1: key 'expressions' is \"x\""),
        (
            [{"ann_id": 11, "expressions": ["x"], "split": split} for split in ("val", "train")],
            ':2: key \'split\' is "train", but must be "val" as in an earlier line',
        ),
    ],
)
def test_faults_of_a_separate_file_name_line_and_key(photos, coco, capsys, rows, fault):
    said = photos.write(*rows, name="said.jsonl")
    assert photos.run("--coco", coco(), "--expressions", said) == 2
    assert f"{said}{fault}" in capsys.readouterr().err


def test_all_faults_of_a_coco_file_are_listed_at_once(photos, coco, capsys):
    def change(content):
        content["annotations"][0]["bbox"] = None
        content["annotations"][0]["category_id"] = -1
        content["annotations"][1]["captions"] = "a square"
        content["annotations"].append(dict(content["annotations"][2]))
        content["images"].append({"file_name": "c.png"})

    path = coco(change)
    assert photos.run("--coco", path) == 2
    said = capsys.readouterr().err
    assert "nothing was imported because of 4 faults:" in said
    for fault in (
        'images[2] is {"file_name": "c.png"}, but must be an object whose \'id\'',
        "annotations[3]: key 'id': 13 is also the id of annotations[2]",
        "annotation 12: key 'captions' is \"a square\"",
        "annotation 11: key 'category_id' is -1",
    ):
        assert f"{path}: {fault}" in said
    assert photos.files() == {}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "instances.json:1: not valid JSON"),
        (b"[]", "not a COCO file"),
        (b'{"images": []}', "not a COCO file"),
        (b'{"images": [{}], "annotations": []}', "instances.json: images[0] is {}, but must be"),
        (b'{"images": [], "annotations": {}}', "there is no list 'annotations'"),
        (b"\n\xff", "instances.json:2: not UTF-8"),
    ],
)
def test_other_files_are_refused(photos, capsys, content, fault):
    path = photos.folder / "instances.json"
    path.write_bytes(content)
    assert photos.run("--coco", path) == 2
    assert fault in capsys.readouterr().err
