"""Cached arrays are returned only if they are intact and belong to the key."""

import random
import zipfile

import numpy as np
import pytest

from data.text.array_cache import array_text, read_cached, text_array, write_cached
from tests.limits import memory_within

PAGE = 4096
VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "new" / "cache.npz"
    write_cached(path, "größe", values=VALUES, names=text_array("ä b"))
    return path


def parse(arrays):
    if arrays["values"].shape != (3, 4):
        raise ValueError("another shape")
    return arrays["values"], array_text(arrays["names"])


def test_arrays_come_back(path):
    values, names = read_cached(path, "größe", parse)
    np.testing.assert_array_equal(values, VALUES)
    assert names == "ä b"


def test_a_missing_file_is_not_worth_a_warning(path, caplog):
    assert read_cached(path.with_name("other.npz"), "größe", parse) is None
    assert not caplog.text


def test_another_key_or_shape_is_reported(path, caplog):
    assert read_cached(path, "other", parse) is None
    assert "cache.npz: cannot be reused and is computed again (it was computed" in caplog.text
    write_cached(path, "größe", values=VALUES[:2])
    assert read_cached(path, "größe", parse) is None
    assert "(another shape)" in caplog.text


LARGE = np.zeros(400_000_000, np.uint8)


def test_a_cache_that_expands_is_not_read(path, caplog):
    np.savez_compressed(path, key=text_array("größe"), values=LARGE, names=text_array("ä b"))
    assert path.stat().st_size < 1_000_000
    with memory_within(50_000_000):
        assert read_cached(path, "größe", parse) is None
    assert "cannot be reused and is computed again (it expands" in caplog.text


def test_arrays_that_share_their_bytes_are_not_read(path, caplog):
    with zipfile.ZipFile(path, "a") as archive:
        (values,) = (m for m in archive.infolist() if m.filename == "values.npy")
        archive.filelist += [values] * 100  # What the directory lists when it is written.
        archive._didModify = True
    assert read_cached(path, "größe", parse) is None
    assert "(it expands" in caplog.text


def test_arrays_of_another_key_are_not_read(path, caplog):
    write_cached(path, "other", values=LARGE, names=text_array("ä b"))
    with memory_within(50_000_000):
        assert read_cached(path, "größe", parse) is None
    assert "it was computed from other input" in caplog.text


def test_damage_never_raises(path, caplog):
    good, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(3):
            damaged[rng.randrange(len(good))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice([len(good), rng.randrange(len(good))])])
        found = read_cached(path, "größe", parse)
        assert found is None or np.array_equal(found[0], VALUES)
    assert "cannot be reused" in caplog.text


def test_a_folder_that_cannot_be_written_costs_a_warning(path, caplog):
    write_cached(path / "in_a_file.npz", "key", values=VALUES)
    assert "in_a_file.npz: cannot be kept for the next run" in caplog.text


# What is there already, and the size of an array for which the rest of the disk is too small, or
# whose file is too large by its last bytes.
@pytest.mark.parametrize(
    ("other", "size"), [(90 * PAGE, 100 * PAGE), (0, 100 * PAGE), (0, 99 * PAGE - 300)]
)
def test_a_full_disk_costs_a_warning_and_keeps_the_old_file(small_disk, caplog, other, size):
    folder = small_disk(100 * PAGE)
    path = folder / "cache.npz"
    write_cached(path, "größe", values=VALUES)
    old = path.read_bytes()
    (folder / "other").write_bytes(bytes(other))
    write_cached(path, "größe", values=np.zeros(size, np.uint8), names=text_array("ä b"))
    assert "cache.npz: cannot be kept for the next run" in caplog.text
    assert "the disk is full" in caplog.text
    assert path.read_bytes() == old
    assert sorted(file.name for file in folder.iterdir()) == ["cache.npz", "other"]


def test_a_fault_of_the_caller_keeps_its_traceback(path):
    with pytest.raises(ZeroDivisionError):
        read_cached(path, "größe", lambda arrays: 1 / 0)
