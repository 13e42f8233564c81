"""HDF5 files: whole or not written at all, and refused if anything in them is not as sealed."""

import h5py
import numpy as np
import pytest

from config.errors import NoSpaceError
from config.hdf5_file import CHECKSUM, Hdf5Error, opened_hdf5, written_hdf5


def write(path, size=1000):
    with written_hdf5(path) as file:
        file["layers/a/vars/0"] = np.arange(size, dtype=np.float32)
        file["layers/a/vars/1"] = np.float64(3)
        file["layers/a"].attrs["name"] = "ä"
        file["layers"].attrs["names"] = ["one", "two"]
        file["layers"].attrs["raw"] = [b"one", b"two"]
        file.attrs["step"] = 7


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "new" / "a.h5"
    write(path)
    with opened_hdf5(path) as file:
        assert file["layers/a/vars/0"][999] == 999
        assert file["layers/a"].attrs["name"] == "ä"
        assert file.attrs["step"] == 7
        assert CHECKSUM in file.attrs
    assert [p.name for p in path.parent.iterdir()] == ["a.h5"]


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    write(path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), written_hdf5(path):
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("values", [300_000, 600_000, 1_000_000, 5_000_000])
def test_a_full_disk_is_a_sentence_and_the_old_file_stays(small_disk, values):
    disk = small_disk(2_000_000)
    path = disk / "a.h5"
    write(path, 200_000)
    before = path.read_bytes()
    with pytest.raises(NoSpaceError, match=r"a\.h5: needs .* MB, and the disk is full"):
        write(path, values)
    assert path.read_bytes() == before
    assert [p.name for p in disk.iterdir()] == ["a.h5"]
    write(path, 100_000)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["layers/a/vars/0"].write_direct(np.full(1000, 2, "f4")),
        lambda file: file["layers/a"].attrs.modify("name", "b"),
        lambda file: file["layers"].attrs.modify("raw", [b"one", b"twp"]),
        lambda file: file.attrs.create("step", 8),
        lambda file: file.attrs.create("step", 7, dtype="u1"),
        lambda file: file.attrs.create("more", 7),
        lambda file: file["layers/a"].attrs.__delitem__("name"),
        lambda file: file.move("layers/a", "layers/b"),
        lambda file: file.create_group("layers/more"),
        lambda file: file.__delitem__("layers/a/vars/1"),
    ],
)
def test_the_checksum_covers_names_attributes_types_and_values(tmp_path, change):
    path = tmp_path / "a.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(Hdf5Error, match="do not match its checksum"), opened_hdf5(path):
        pass


def test_files_without_a_checksum_are_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.ones(3)
    with opened_hdf5(path) as file:
        assert file["a"][0] == 1
    with opened_hdf5(path.read_bytes()) as file:
        assert file["a"][0] == 1


def test_a_missing_file_is_no_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError), opened_hdf5(tmp_path / "none.h5"):
        pass
