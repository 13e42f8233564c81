"""Features on disk: complete, of the right key, and never past the disk's end."""

import shutil

import numpy as np
import pytest

from data.loading.feature_store import FeatureStore, FeatureStoreError

IMAGES = ["a.jpg", "b.jpg", "c.jpg"]
SHAPES = [(2, 2, 3), (4, 4, 1)]


def open_store(folder, images=IMAGES, dtype="float32", **key):
    return FeatureStore(folder, {"weights": "abc", **key}, images, SHAPES, dtype)


def fill(store, names):
    rng = np.random.default_rng(1)
    written = {}
    for name in names:
        written[name] = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
        store.write(name, (640, 480), written[name])
    store.flush()
    return written


def test_an_interrupted_store_goes_on_where_it_stopped(tmp_path):
    first = open_store(tmp_path / "f")
    assert first.missing == IMAGES
    written = fill(first, ["b.jpg"])
    again = open_store(tmp_path / "f")
    assert again.stale is None
    assert again.missing == ["a.jpg", "c.jpg"]
    features, size = again.read("b.jpg")
    assert size == (640, 480)
    for mine, theirs in zip(features, written["b.jpg"], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": "xyz"}, "weights"),
        ({"input_size": 320}, "input_size"),
        ({"images": ["a.jpg", "c.jpg"]}, "images"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_a_stale_store_is_built_anew(tmp_path, change, named):
    fill(open_store(tmp_path / "f"), IMAGES)
    store = open_store(tmp_path / "f", **change)
    assert named in store.stale
    assert store.missing == change.get("images", IMAGES)


def test_a_damaged_key_makes_a_store_stale(tmp_path):
    fill(open_store(tmp_path / "f"), IMAGES)
    (tmp_path / "f/key.json").write_text("{")
    assert open_store(tmp_path / "f").missing == IMAGES


def test_float16_is_half_the_size(tmp_path):
    single = open_store(tmp_path / "s").bytes
    assert single == 3 * (12 + 16) * 4
    assert open_store(tmp_path / "h", dtype="float16").bytes == single // 2


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(FeatureStoreError, match="cache_dtype=float16"):
        open_store(tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_files_of_others_are_not_deleted(tmp_path):
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(FeatureStoreError, match=r"holiday\.jpg"):
        open_store(tmp_path)
    assert (tmp_path / "holiday.jpg").exists()
