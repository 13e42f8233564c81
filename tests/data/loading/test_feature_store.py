"""Features on disk: complete, of the right key, and never beyond the free space."""

import contextlib
import os
import shutil

import numpy as np
import pytest

from config.errors import NoSpaceError
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


def test_an_interrupted_store_resumes(tmp_path):
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
def test_a_stale_store_is_discarded(tmp_path, change, named):
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
    with pytest.raises(NoSpaceError, match=r"needs 336 bytes .* cache_dtype=float16"):
        open_store(tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_only_missing_features_need_space(tmp_path, monkeypatch):
    fill(open_store(tmp_path / "f"), IMAGES[:1])
    for free, enough in ((224, True), (223, False)):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        with contextlib.nullcontext() if enough else pytest.raises(NoSpaceError, match="224 bytes"):
            open_store(tmp_path / "f")
        monkeypatch.undo()


def test_files_of_others_are_kept(tmp_path):
    mine = {"holiday.jpg", "feature_notes.md", "feature_7.npy", "feature_engineering/thesis.py"}
    (tmp_path / "feature_engineering").mkdir()
    for name in mine:
        (tmp_path / name).write_text(name)
    fill(open_store(tmp_path), IMAGES)
    assert open_store(tmp_path, weights="xyz").stale == "features of other weights"
    for name in mine:
        assert (tmp_path / name).read_text() == name


@pytest.mark.parametrize("name", ["feature_0.npy", "feature_1.npy", "sizes.npy", "key.json"])
def test_files_of_others_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(FeatureStoreError, match=f"{name} was not written by the feature cache"):
        open_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_a_store_with_fewer_features_leaves_none_behind(tmp_path):
    fill(open_store(tmp_path), IMAGES)
    FeatureStore(tmp_path, {"weights": "abc"}, IMAGES, SHAPES[:1])
    assert sorted(os.listdir(tmp_path)) == ["feature_0.npy", "key.json", "sizes.npy"]


def test_a_lost_array_is_computed_again(tmp_path):
    fill(open_store(tmp_path), IMAGES)
    (tmp_path / "feature_1.npy").unlink()
    assert open_store(tmp_path).missing == IMAGES


def test_a_damaged_array_is_named(tmp_path):
    fill(open_store(tmp_path), IMAGES)
    (tmp_path / "feature_1.npy").write_text("no array")
    with pytest.raises(FeatureStoreError, match=r"feature_1\.npy: damaged"):
        open_store(tmp_path)
