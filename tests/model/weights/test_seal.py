"""Files of this project with a flipped bit: refused, or exactly the weights that were written."""

import h5py
import numpy as np
import pytest

from config.hdf5_file import CHECKSUM, SEALED_BY
from model.weights import WeightsError, load_weights, save_weights
from tests.model.weights.weight_fixtures import edited, refused, same_weights

pytestmark = pytest.mark.slow


def check_flips(path, pair, bits):
    """Flips one bit of a file at a time and loads it; returns how often it was refused."""
    intact, initial, refusals = path.read_bytes(), pair.target.get_weights(), 0
    for bit in bits:
        content = bytearray(intact)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            load_weights(pair.target, path)
        except WeightsError:
            refusals += 1
            unchanged = zip(initial, pair.target.get_weights(), strict=True)
            assert all(np.array_equal(*values) for values in unchanged), f"bit {bit}"
        else:
            assert same_weights(pair.source, pair.target), f"bit {bit}"
            pair.target.set_weights(initial)
    return refusals


def bits_of_seal(content):
    """The bits of the two names that say that a file is sealed."""
    for name in (CHECKSUM.encode(), SEALED_BY.encode()):
        start = 8 * content.rindex(name)
        yield from range(start, start + 8 * len(name))


@pytest.mark.parametrize(
    "flips", [30, pytest.param(2000, marks=pytest.mark.soak)], ids=["some", "many"]
)
def test_flipped_bits(tmp_path, darknet, flips):
    path = tmp_path / "sealed.weights.h5"
    save_weights(darknet.source, path)
    rng, content = np.random.default_rng(0), path.read_bytes()
    seal = list(bits_of_seal(content))
    bits = [*rng.choice(seal, min(flips // 3, len(seal)), replace=False)]
    # The values take most of the file, so half of the other bits are those of its structure.
    structure = [i for i in range(len(content)) if content[i : i + 4] in (b"SNOD", b"TREE")]
    bits += [8 * at + rng.integers(8 * 300) for at in rng.choice(structure, flips // 3)]
    bits += [*rng.integers(8 * len(content), size=flips // 3)]
    refusals = check_flips(path, darknet, [int(min(b, 8 * len(content) - 1)) for b in bits])
    assert refusals > flips // 3


def test_the_seal_cannot_be_lost_by_one_name(tmp_path, darknet):
    path = tmp_path / "sealed.weights.h5"
    save_weights(darknet.source, path)
    intact = path.read_bytes()
    for name in (CHECKSUM, SEALED_BY):
        path.write_bytes(intact)
        with h5py.File(path, "r+") as file:
            del file.attrs[name]
        with refused(darknet.target, match="is damaged .*checksum"):
            load_weights(darknet.target, path)


def test_older_files_without_a_seal_are_loaded(tmp_path, darknet):
    path = tmp_path / "older.weights.h5"
    save_weights(darknet.source, path)
    with edited(path):
        pass
    with h5py.File(path) as file:
        assert set(file.attrs) == {"mcn_part", "mcn_backbone"}
    load_weights(darknet.target, path)
    assert same_weights(darknet.source, darknet.target)
