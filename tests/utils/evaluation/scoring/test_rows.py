"""Files of predictions, in every form that is read, and what is refused."""

import json

import pytest

from config.errors import UserError
from utils.evaluation.results.measurement import DUMPED, EARLIER
from utils.evaluation.scoring import rows as rows_module
from utils.evaluation.scoring.rows import read_rows

NAMED = {"image": "a.png", "expression": "red box"}


def read(path, *objects, as_list=False):
    text = json.dumps(objects) if as_list else "".join(json.dumps(o) + "\n" for o in objects)
    path.write_text(text, encoding="utf-8")
    return read_rows(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.json"


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ({"box_xyxy": [1, 2, 30.5, 40]}, (1, 2, 30.5, 40)),
        ({"bbox": [1, 2, 30, 40]}, (1, 2, 31, 42)),  # as in COCO
        ({"bbox": [1, 2, 30, 40], "format": "xywh"}, (1, 2, 31, 42)),
        ({"bbox": [1, 2, 30, 40], "format": "xyxy"}, (1, 2, 30, 40)),
        ({"pred_bbox": [1, 2, 30, 40], "format": "xyxy"}, (1, 2, 30, 40)),
        ({"pred_bbox": [1, 2, 30, 40], "format": "xywh"}, (1, 2, 31, 42)),
        ({"box_xyxy": [1, 2, 30, 40], "format": "xywh"}, (1, 2, 30, 40)),  # its name says it
        ({"box_xyxy": [-3, 2, -3, 2]}, (-3, 2, -3, 2)),
        ({"box_xyxy": None}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("as_list", [False, True])
def test_boxes(path, box, expected, as_list):
    (row,) = read(path, NAMED | box, as_list=as_list)
    assert row.box_xyxy_px == expected
    assert row.where == (f"{path}: entry 1" if as_list else f"{path}:1")
    assert (row.image, row.expression, row.ref_id, row.sample_id) == (
        "a.png",
        "red box",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("mask", "key"),
    [
        ({"mask": {"size": [2, 3], "counts": "06"}}, "mask"),
        ({"mask": [[0, 0, 2, 0, 2, 2]]}, "mask"),
        ({"segmentation": []}, "segmentation"),
        ({"mask_rle": {"size": [2, 3], "counts": [6]}, "mask": "a_1_mask.png"}, "mask_rle"),
    ],
)
def test_masks_are_kept_until_the_size_of_the_image_is_known(path, mask, key):
    (row,) = read(path, NAMED | mask)
    assert (row.mask_key, row.mask) == (key, mask[key])


def test_mask_images_are_relative_to_the_file(path, tmp_path):
    (row,) = read(path, NAMED | {"mask": "masks/1.png", "score": 1})
    assert row.mask == tmp_path / "masks/1.png"
    assert row.score == 1.0


def test_ids_stand_in_for_image_and_expression(path):
    rows = read(path, {"ref_id": 7}, {"id": 3, "pred_bbox": [0, 0, 1, 1], "format": "xyxy"})
    assert [(row.ref_id, row.sample_id) for row in rows] == [(7, None), (None, 3)]


@pytest.mark.parametrize(("given", "read_as"), [(17, 17), ("000017", 17), ("000000", 0), (3.0, 3)])
@pytest.mark.parametrize("key", ["id", "sent_id"])
def test_ids_of_expressions_may_be_text(path, key, given, read_as):
    (row,) = read(path, {key: given, "bbox": [0, 0, 1, 1]})
    assert (row.sample_id, row.sent_id) == ((read_as, None) if key == "id" else (None, read_as))
    assert row.needs_ids


@pytest.mark.parametrize("keys", [DUMPED, EARLIER])
def test_dumps_have_boxes_of_the_input(path, keys):
    dumped = dict.fromkeys(keys) | NAMED
    dumped |= {"box_xyxy": [1, 2, 3, 4], "box_xyxy_input": [2, 4, 6, 8]}
    dumped |= {"ref_id": 5} if "ref_id" in keys else {}
    assert read(path, dumped)[0].box_xyxy_input == (2, 4, 6, 8)
    # Of other systems, only their boxes in the image count.
    assert read(path, dumped | {"more": 1})[0].box_xyxy_input is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "key 'image' is missing, but must be the name of the image; ref_id"),
        ({"image": "a.png"}, "key 'expression' is missing"),
        ({"other": 1, "imgae": "a.png"}, "did you mean 'image' instead of \"imgae\"?"),
        (NAMED | {"image": 7}, "key 'image' is 7, but must be a file name"),
        ({"ref_id": "x"}, "key 'ref_id' is \"x\", but must be a whole number"),
        ({"id": -1}, "key 'id' is -1"),
        ({"id": "17a"}, "key 'id' is \"17a\", but must be a whole number"),
        ({"id": 1, "pred_bbox": [1, 2, 3, 4]}, "key 'format' is missing, but must be \"xyxy\" or"),
        (NAMED | {"box_xyxy": [1, 2, 3]}, "four numbers [left, top, right, bottom]"),
        (NAMED | {"box_xyxy": [10, 20, 5, 30]}, "which is no [left, top, right, bottom]"),
        (NAMED | {"bbox": [1, 2, -3, 4]}, 'is negative; if it is [left, top, right, bottom], add'),
        (NAMED | {"bbox": [1, 2, 3, 4], "format": "cxcywh"}, "'format' is \"cxcywh\""),
        (NAMED | {"bbox": [1, 2, 3, 4], "box_xyxy": [1, 2, 3, 4]}, "a second box beside"),
        (NAMED | {"bbox": [1, 2, True, 4]}, "four numbers [left, top, width, height]"),
        (NAMED | {"mask": 5}, "key 'mask' is 5, but must be run lengths, polygons or the name"),
        # Run lengths without their size, which no system takes as the name of a file.
        (NAMED | {"mask": "07O2O" * 60}, "but must be a file name of at most 255 bytes"),
        (NAMED | {"score": "high"}, "key 'score' is \"high\", but must be a number"),
    ],
)  # fmt: skip
def test_faults_name_line_and_key(path, row, message):
    with pytest.raises(UserError) as error:
        read(path, NAMED, row)
    assert str(error.value).startswith(f"{path}:2: key '")
    assert message in str(error.value)


def test_ids_of_images_are_no_misspelled_names(path):
    with pytest.raises(UserError, match="'image' is missing") as error:
        read(path, {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4]})
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(
    "inverted", [{"box_xyxy": [10, 20, 5, 30]}, {"bbox": [1, 2, 3, -4]}, {"bbox": [1, 2, -3, 4]}]
)
def test_some_inverted_boxes_are_faults_of_their_rows(path, inverted):
    good = NAMED | {"box_xyxy": [1, 2, 3, 4]}
    rows = read(path, good, NAMED | inverted, NAMED)
    assert [row.box_xyxy_px for row in rows] == [(1, 2, 3, 4), None, None]
    assert [row.box_fault is None for row in rows] == [True, False, True]
    with pytest.raises(UserError, match=r":2: key 'b.*\[left, top, right, bottom\]"):
        read(path, good, NAMED | inverted, NAMED | inverted)  # More than half are.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no prediction"),
        (b"[]", "holds no prediction"),
        (b"3\n", r":1: holds 3, but must be an object"),
        (b'[{"image": "a", "expression": "b"}, []]', r": entry 2: holds \[\], but must be an obj"),
        (b"[1, 2", r":1: not valid JSON"),
        (b'{"image": "a", "expression": "b"}\n{,\n', r":2: not valid JSON"),
        (b'{"image": "a", "image": "b"}\n', r":1: key \"image\" occurs twice"),
        (b'{"image": "a", "expression": "b", "score": NaN}\n', r":1: NaN is not a number"),
        (b"\xff\xfe[\0", "UTF-16"),
    ],
)
def test_other_files_are_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_rows(path)


def test_files_that_are_missing_or_too_large(path, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"predictions\.json: no such file; --predictions names"):
        read_rows(path)
    with pytest.raises(UserError, match="not a file"):
        read_rows(tmp_path)
    monkeypatch.setattr(rows_module, "MAX_LIST_BYTES", 50)
    with pytest.raises(UserError, match="more than 50 bytes; write one object per line"):
        read(path, NAMED, NAMED, as_list=True)
    assert len(read(path, NAMED, NAMED)) == 2


def test_a_byte_order_mark_is_read(path):
    for text in (json.dumps([NAMED]), json.dumps(NAMED) + "\n"):
        path.write_text(text, encoding="utf-8-sig")
        assert read_rows(path)[0].image == "a.png"
