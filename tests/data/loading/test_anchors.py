"""Anchor files and the search for anchors."""

from pathlib import Path

import numpy as np
import pytest

from data.loading.anchors import kmeans_anchors, read_anchors, shape_iou, write_anchors
from data.loading.errors import DataError


def test_shipped_anchors_are_the_published_ones():
    path = Path(__file__).parents[3] / "data" / "yolo_anchors.txt"
    anchors = read_anchors(path)
    assert anchors.dtype == np.float32
    assert anchors.tolist() == [[137, 256], [248, 272], [386, 271]]


def test_write_then_read_keeps_hundredths(tmp_path):
    path = tmp_path / "anchors.txt"
    write_anchors(path, np.array([[10.25, 30.5], [100, 7.126]]))
    assert path.read_text() == "10.25,30.5,  100,7.13\n"
    np.testing.assert_allclose(read_anchors(path), [[10.25, 30.5], [100, 7.13]])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"10,20,30", "3 numbers"),
        (b"10,twenty", "'twenty'"),
        (b"10,20,", "''"),
        (b"10,-20", "-20"),
        (b"10,1e-60", "10"),
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


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "anchors.txt"
    write_anchors(path, np.array([[10, 20]]))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_anchors(path, np.array([[30, 40]]))
    assert read_anchors(path).tolist() == [[10, 20]]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("anchors", [np.ones(4), np.ones((0, 2)), [[1, 0.0]], [[1, np.nan]]])
def test_unwritable_anchors_are_refused(tmp_path, anchors):
    with pytest.raises(ValueError, match="anchors"):
        write_anchors(tmp_path / "anchors.txt", anchors)


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
        ([[5, 5], [5, 5], [6, 6]], 3, "3 anchors .* 2 different"),
        ([[5, 5]], 0, "0 anchors"),
    ],
)
def test_kmeans_refuses(boxes, k, message):
    with pytest.raises(ValueError, match=message):
        kmeans_anchors(boxes, k, 0)
