"""Reading masks: every fault of a file is a `DataError` that names it."""

import io
import random

import numpy as np
import pytest

from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.masks import load_mask, read_mask

REFERENT = Referent("a.png", (0, 0, 3, 3), 0, 7, ("it",))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_a_mask_is_zero_or_one(tmp_path, shape):
    values = np.zeros(shape, np.int64)
    values[1, 2] = 256
    np.save(tmp_path / "7.npy", values)
    mask = load_mask(tmp_path / "7.npy")
    assert (mask.shape, mask.dtype, mask.sum(), mask[1, 2]) == ((4, 6), np.uint8, 1, 1)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((4, 6, 3)), np.array([{}])])
def test_a_file_that_is_not_a_mask_is_named(tmp_path, array):
    path = tmp_path / "7.npy"
    with pytest.raises(FileNotFoundError):
        load_mask(path)
    np.save(path, array)
    with pytest.raises(DataError, match=rf"^{path}: not a readable mask .*; prepare it again$"):
        load_mask(path)


def test_an_archive_is_not_a_mask(tmp_path):
    np.savez(tmp_path / "7.npz", np.ones((4, 6)))
    path = (tmp_path / "7.npz").rename(tmp_path / "7.npy")
    with pytest.raises(DataError, match=r"7\.npy: not a readable mask \(a \.npz archive"):
        load_mask(path)


def test_damaged_masks_are_named(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.ones((20, 30), np.uint8))
    path = tmp_path / "7.npy"
    rng = random.Random(0)
    errors = 0
    for _ in range(500):
        damaged = bytearray(buffer.getvalue())
        damaged[rng.randrange(130)] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            load_mask(path)
        except DataError as error:
            errors += str(error).startswith(f"{path}: ")
    assert errors > 100


def test_the_mask_of_a_referent_has_the_size_of_its_image(tmp_path):
    with pytest.raises(DataError, match=r"7\.npy: no such mask; is seg_gt_path .*--generate_mask"):
        read_mask(tmp_path, REFERENT, 6, 4)
    np.save(tmp_path / "7.npy", np.full((4, 6, 1), 2, np.uint8))
    assert read_mask(tmp_path, REFERENT, 6, 4).tolist() == [[1] * 6] * 4
    with pytest.raises(DataError, match=r"has 6×4 pixels, but its image a\.png has 4×6"):
        read_mask(tmp_path, REFERENT, 4, 6)
