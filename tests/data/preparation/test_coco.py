"""The reader of COCO files; its uses are tested in test_refer, test_detection and own/."""

import json
import re

import pytest
from PIL import Image

from data.loading.errors import DataError
from data.preparation.coco import MAX_PIXELS, expressions_of, image_size, look_up, read_coco
from data.preparation.json_fields import EntryError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "instances.json"


def write(path, images=(), annotations=(), **tables):
    content = {"images": list(images), "annotations": list(annotations), **tables}
    path.write_text(json.dumps(content))
    return path


def test_tables_are_indexed_by_id_in_the_order_of_the_file(path):
    write(path, [{"id": 3}, {"id": "a"}], [{"id": 9}], categories=[{"id": 2}, {"id": 1}])
    coco = read_coco(path)
    assert coco.path == path
    assert coco.images == {3: {"id": 3}, "a": {"id": "a"}}
    assert list(coco.annotations) == [9]
    assert list(coco.categories) == [2, 1]
    assert read_coco(write(path)).categories == {}


def test_a_byte_order_mark_is_accepted(path):
    path.write_bytes(b"\xef\xbb\xbf" + b'{"images": [], "annotations": []}')
    assert read_coco(path).images == {}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{\n\n", ":3: not valid JSON: "),
        (b'{\n"images": "\xe9"}', ":2: not UTF-8 text"),
        (b"[" * 100_000, ":1: this JSON cannot be read: "),
        (b'{"images": [' + b"9" * 5_000 + b"]}", ":1: this JSON cannot be read: "),
        (b"3", ": not a COCO file"),
        (b'{"images": {}, "annotations": []}', ": not a COCO file"),
        (b'{"images": [], "annotations": [], "categories": 1}', ": not a COCO file"),
    ],
)
def test_other_content_names_file_and_line(path, content, fault):
    path.write_bytes(content)
    with pytest.raises(DataError, match="^" + re.escape(f"{path}{fault}")):
        read_coco(path)


@pytest.mark.parametrize("row", [5, None, {}, {"id": None}, {"id": True}, {"id": 1.5}, {"id": [1]}])
def test_objects_without_an_id_are_refused(path, row):
    write(path, [{"id": 1}, row])
    with pytest.raises(DataError, match=r"images\[1\] is .* must be an object whose 'id'"):
        read_coco(path)


def test_duplicate_ids_are_refused_even_if_the_objects_are_equal(path):
    write(path, [{"id": 1}], [{"id": 7}, {"id": 8}, {"id": 7}, {"id": 8}])
    message = re.escape("annotations[2]: key 'id': 7 is also the id of annotations[0] (and 1 more")
    with pytest.raises(DataError, match="^" + re.escape(f"{path}: ") + message):
        read_coco(path)
    faults = []
    assert list(read_coco(path, faults).annotations) == [7, 8]
    assert [fault.rpartition(": ")[2] for fault in faults] == [
        "7 is also the id of annotations[0]",
        "8 is also the id of annotations[1]",
    ]


def test_a_number_and_a_string_are_different_ids(path):
    coco = read_coco(write(path, [{"id": 1}, {"id": "1"}]))
    assert look_up(coco.images, {"image_id": "1"}, "image_id") == {"id": "1"}
    for image_id in (2, "2", 1.0, True, None, [1]):
        with pytest.raises(EntryError, match=r"'image_id' is .* must be the id of an image"):
            look_up(coco.images, {"image_id": image_id}, "image_id")


@pytest.mark.parametrize("width", [None, 0, -1, 1.5, "3", True, float("nan"), 10**400])
def test_sizes_are_positive_whole_numbers(width):
    assert image_size({"width": 3.0, "height": 4}) == (3, 4)
    with pytest.raises(EntryError, match=r"'width' is .* must be a whole number, 1 or more"):
        image_size({"width": width, "height": 4})


def test_sizes_beyond_any_image_are_refused():
    assert image_size({"width": 16_384, "height": 10_000}) == (16_384, 10_000)
    for width, height in ((2**53, 2**53), (MAX_PIXELS + 1, 1), (20_000, 10_000)):
        with pytest.raises(
            EntryError, match=rf"'width' is {width}, but must be at most 178,956,97"
        ):
            image_size({"width": width, "height": height})


def test_the_limit_of_sizes_is_that_of_the_library():
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("key", ["captions", "expressions"])
@pytest.mark.parametrize("value", ["red kite", 5, True, {"a": 1}, [""], ["red", 5], [["red"]]])
def test_expressions_are_lists_of_strings(key, value):
    with pytest.raises(EntryError, match=rf"'{key}' is .* must be a list of expressions"):
        expressions_of({key: value})
    assert expressions_of({key: ["red"]}) == ("red",)
    for nothing in (None, [], ""):
        assert expressions_of({key: nothing}) == ()
