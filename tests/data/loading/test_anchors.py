"""Anchor files and the search for anchors."""

import os
from pathlib import Path

import numpy as np
import pytest

from data.loading.anchors import (
    PUBLISHED,
    check_anchor_target,
    kmeans_anchors,
    read_anchors,
    shape_iou,
    write_anchors,
)
from data.loading.errors import DataError


def test_shipped_anchors_are_the_published_ones():
    anchors = read_anchors(PUBLISHED)
    assert anchors.dtype == np.float32
    assert anchors.tolist() == [[137, 256], [248, 272], [386, 271]]


def test_write_then_read_keeps_hundredths(tmp_path):
    path = tmp_path / "anchors.txt"
    write_anchors(path, np.array([[10.25, 30.5], [100, 7.126], [3, 0.01]]))
    assert path.read_text() == "10.25,30.5,  100,7.13,  3,0.01\n"
    np.testing.assert_allclose(read_anchors(path), [[10.25, 30.5], [100, 7.13], [3, 0.01]])


def test_a_byte_order_mark_is_no_part_of_the_first_number(tmp_path):
    path = tmp_path / "anchors.txt"
    path.write_text("1,2,  3,4,  5,6\r\n", encoding="utf-8-sig")
    assert read_anchors(path).tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"10,20,30", "3 numbers"),
        (b"10,20,  30,40", "4 numbers"),
        (b"1,2,  3,4,  5,6,  7,8", "8 numbers"),
        (b"10,twenty", "'twenty'"),
        (b"10,20,", "''"),
        (b"10,-20", "-20"),
        (b"10,1e-60", "1e-60"),
        (b"10,1e30", "1e+30"),
        (b"10," + b"9" * 5000, "inf"),
        (b"10," + b"x" * 5000, "is not a number"),
        (b"1," * 10_000, "more than 10,000 bytes"),
        (b"10,nan", "nan"),
        (b"inf,10", "inf"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_bad_file_is_an_error_that_names_it(tmp_path, content, found):
    path = tmp_path / "some_anchors.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"some_anchors\.txt") as error:
        read_anchors(path)
    assert found in str(error.value)
    assert len(str(error.value)) < 400


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "anchors.txt"
    anchors = np.array([[10, 20], [30, 40], [50, 60]])
    write_anchors(path, anchors)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_anchors(path, anchors + 1)
    assert read_anchors(path).tolist() == anchors.tolist()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [0, -1, 0.001, 1e7, np.nan, np.inf])
def test_sizes_that_are_no_anchors_are_refused(tmp_path, size):
    with pytest.raises(
        DataError,
        match=r"anchors\.txt: cannot store .*: anchors are sizes of 0\.01 to 1,000,000 pixels",
    ):
        write_anchors(tmp_path / "anchors.txt", np.array([[1, 2], [3, 4], [5, size]]))


@pytest.mark.parametrize("anchors", [np.ones(6), np.ones((2, 2)), np.ones((3, 3))])
def test_other_shapes_are_refused(tmp_path, anchors):
    with pytest.raises(ValueError, match="shape"):
        write_anchors(tmp_path / "anchors.txt", anchors)


def test_the_published_anchors_are_never_replaced(tmp_path):
    published = PUBLISHED.read_bytes()
    link = tmp_path / "link.txt"
    link.symlink_to(PUBLISHED)
    for path in (PUBLISHED, link):
        with pytest.raises(DataError, match="published checkpoints need these anchors"):
            write_anchors(path, np.array([[1, 2], [3, 4], [5, 6]]))
    assert PUBLISHED.read_bytes() == published


def test_a_file_that_is_no_anchor_file_is_never_replaced(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("a.jpg 1,2,3,4,5,6 ~ x\n")
    with pytest.raises(
        DataError, match=r"train\.txt: this file does not contain anchors .expected one line"
    ):
        write_anchors(path, np.array([[1, 2], [3, 4], [5, 6]]))
    assert path.read_text() == "a.jpg 1,2,3,4,5,6 ~ x\n"


def test_shape_iou():
    iou = shape_iou(np.array([[10, 10], [20, 5]]), np.array([[10, 10], [5, 20]]))
    np.testing.assert_allclose(iou, [[1, 50 / 150], [50 / 150, 25 / 175]])


def test_kmeans_finds_separate_groups_whatever_the_order():
    rng = np.random.default_rng(0)
    centers = np.array([[10, 12], [40, 38], [90, 30]])
    boxes = np.concatenate([center + rng.uniform(-1, 1, (50, 2)) for center in centers])
    for seed in range(5):
        anchors = kmeans_anchors(rng.permutation(boxes), 3, seed)
        assert anchors.dtype == np.float32
        np.testing.assert_allclose(anchors, centers[[0, 1, 2]], atol=0.5)


def test_kmeans_repeats_itself_and_beats_one_anchor():
    boxes = np.random.default_rng(1).uniform(10, 60, (500, 2))
    anchors = kmeans_anchors(boxes, 4, seed=3)
    np.testing.assert_array_equal(anchors, kmeans_anchors(boxes, 4, seed=3))
    assert (np.diff(anchors.prod(axis=1)) >= 0).all()
    one = kmeans_anchors(boxes, 1, seed=3)
    np.testing.assert_allclose(one[0], boxes.mean(axis=0), rtol=1e-6)
    gain = shape_iou(boxes, anchors).max(1).mean() - shape_iou(boxes, one).max(1).mean()
    assert gain > 0.1


def test_kmeans_with_as_many_anchors_as_sizes_takes_each_size():
    boxes = np.array([[10, 10], [20, 20], [30, 10], [10, 10]])
    assert kmeans_anchors(boxes, 3, 0).tolist() == [[10, 10], [30, 10], [20, 20]]


def test_kmeans_with_sizes_that_differ_by_rounding_alone():
    boxes = np.array([[10, 10], [np.nextafter(10, 11), 10]])
    np.testing.assert_allclose(kmeans_anchors(boxes, 2, 0), [[10, 10], [10, 10]], rtol=1e-6)


@pytest.mark.parametrize(
    ("boxes", "k", "message"),
    [
        (np.ones((3, 4)), 1, "shape"),
        ([[1, 0]], 1, "positive"),
        ([[1e-200, 1], [1, 1]], 1, "positive"),
        ([[1e200, 1], [1, 1]], 1, "positive"),
        ([[np.nan, 1], [1, 1]], 1, "positive"),
        ([[5, 5], [5, 5], [6, 6]], 3, "3 anchors .* 2 different"),
        ([[5, 5]], 0, "0 anchors"),
    ],
)
def test_kmeans_refuses(boxes, k, message):
    with pytest.raises(ValueError, match=message):
        kmeans_anchors(boxes, k, 0)


def test_pipes_and_loops_of_links_are_refused_or_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: not a file"):
        read_anchors(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: this file does not contain anchors"):
        check_anchor_target(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    check_anchor_target(tmp_path / "loop")
    write_anchors(tmp_path / "loop", np.ones((3, 2)))
    assert read_anchors(tmp_path / "loop").shape == (3, 2)
