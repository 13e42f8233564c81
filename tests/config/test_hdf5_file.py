"""HDF5 files: whole or not written at all, and refused if anything in them is not as sealed."""

import re
import struct
import time

import h5py
import numpy as np
import pytest

from config.errors import Hdf5Error, NoSpaceError
from config.hdf5_file import (
    CHECKSUM,
    SEALED_BY,
    checksum,
    items_of,
    opened_hdf5,
    written_hdf5,
)
from config.hdf5_file.encoding import HEAP
from tests.limits import memory_within


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


def test_a_sealed_file_whose_checksum_is_gone_is_damaged(tmp_path):
    path = tmp_path / "a.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        del file.attrs[CHECKSUM]
    with pytest.raises(Hdf5Error, match="has no checksum"), opened_hdf5(path):
        pass
    with h5py.File(path, "r+") as file:
        del file.attrs[SEALED_BY]
    with opened_hdf5(path) as file:
        assert file.attrs["step"] == 7


def test_a_checksum_alone_still_counts(tmp_path):
    """Files that were written before `SEALED_BY` existed."""
    path = tmp_path / "a.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        del file.attrs[SEALED_BY]
        file.attrs[CHECKSUM] = checksum(file)
    with opened_hdf5(path) as file:
        assert file.attrs["step"] == 7
    with h5py.File(path, "r+") as file:
        file.attrs["step"] = 8
    with pytest.raises(Hdf5Error, match="do not match its checksum"), opened_hdf5(path):
        pass


@pytest.mark.parametrize(
    "flips", [400, pytest.param(20_000, marks=pytest.mark.soak)], ids=["some", "many"]
)
def test_no_bit_flips_unnoticed(tmp_path, flips):
    """Of a file, or of its seal: values and attributes are as before, or the file is refused."""
    path = tmp_path / "a.h5"
    write(path, 10)
    intact, refused = path.read_bytes(), 0
    with opened_hdf5(intact) as file:
        expected = contents(file)
    # All bits of the names that make up the seal, and others at random.
    bits = [
        8 * (intact.rindex(name) + index) + bit
        for name in (CHECKSUM.encode(), SEALED_BY.encode())
        for index in range(len(name))
        for bit in range(8)
    ]
    bits += list(np.random.default_rng(0).integers(8 * len(intact), size=flips))
    for bit in bits:
        content = bytearray(intact)
        content[bit // 8] ^= 1 << bit % 8
        try:
            with opened_hdf5(bytes(content)) as file:
                assert contents(file) == expected
        except Hdf5Error:
            refused += 1
    assert refused > 200 + flips // 10


def contents(file):
    """Everything in a file, comparable."""
    return [
        (
            item.name,
            {name: np.asarray(value).tolist() for name, value in item.attrs.items()},
            item[()].tolist() if isinstance(item, h5py.Dataset) else None,
        )
        for item in items_of(file)
    ]


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"track_order": True}])
def test_texts_are_read_from_all_versions_of_the_format(tmp_path, options):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **options) as file:
        group = file.create_group("group", track_order=options.get("track_order"))
        group.attrs["a"], group.attrs["names"] = "é" * 5000, ["one", "two"]
        for number in range(5):  # Enough for a second block of the header.
            group.attrs[f"{number}"] = "x" * number
        group["array"] = np.ones(3)
        group["array"].attrs["name"] = "ü"
    with opened_hdf5(path) as file:
        assert file["group"].attrs["a"] == "é" * 5000
        assert list(file["group"].attrs["names"]) == ["one", "two"]
        assert [file["group"].attrs[f"{number}"] for number in range(5)] == [
            "x" * number for number in range(5)
        ]
        assert file["group/array"].attrs["name"] == "ü"


def test_texts_outside_of_the_header_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for number in range(20):  # Stored in a heap from the ninth on.
            file.attrs[f"{number}"] = "text"
    with pytest.raises(Hdf5Error, match="h5repack IN OUT"), opened_hdf5(path):
        pass


@pytest.mark.parametrize(("texts", "length"), [(1, 2**31), (3000, 1_000_000)])
def test_texts_that_claim_to_be_long_are_refused_before_memory_is_allocated(
    tmp_path, texts, length
):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["long"] = "x" * 1_000_000
        file.create_group("group").attrs.create("names", ["y"] * texts, dtype=h5py.string_dtype())
    content = bytearray(path.read_bytes())
    heap_of_long = content.index(b"x" * 1_000_000) - 32
    assert content[heap_of_long:].startswith(HEAP)
    reference = re.compile(rb"\x01\0\0\0(.{8})(..\0\0)", re.DOTALL)
    changed = 0
    for found in reference.finditer(bytes(content)):
        heap = int.from_bytes(found[1], "little")
        if content[heap : heap + 5] == HEAP:
            long = length.to_bytes(4, "little") + heap_of_long.to_bytes(8, "little") + b"\1\0\0\0"
            content[found.start() : found.end()] = long
            changed += 1
    assert changed == texts
    path.write_bytes(content)
    for source in (path, bytes(content)):
        with (
            memory_within(100_000_000),
            pytest.raises(Hdf5Error, match="longer than the file"),
            opened_hdf5(source),
        ):
            pass


def text_file(path):
    """The content of a file that consists of the attribute `name` = "text"."""
    with h5py.File(path, "w") as file:
        file.attrs["name"] = "text"
    return bytearray(path.read_bytes())


def test_references_to_texts_that_are_too_small_are_refused(tmp_path):
    """HDF5 would read memory that does not belong to it, and allocate what it finds there."""
    content = text_file(tmp_path / "a.h5")
    size_of_reference = content.index(b"\x19\x01\x01\0\x10\0\0\0") + 4
    content[size_of_reference] = 1
    with (
        pytest.raises(Hdf5Error, match="the texts of name of /"),
        opened_hdf5(bytes(content)),
    ):
        pass


def test_references_that_lead_nowhere_are_refused(tmp_path):
    content = text_file(tmp_path / "a.h5")
    heap = content.index(HEAP)
    reference = content.index((4).to_bytes(4, "little") + heap.to_bytes(8, "little")) + 4
    for address in (heap + 8, len(content), 2**62, 2**64 - 2):
        content[reference : reference + 8] = address.to_bytes(8, "little")
        (tmp_path / "a.h5").write_bytes(content)
        for source in (tmp_path / "a.h5", bytes(content)):
            with pytest.raises(Hdf5Error, match="is damaged"), opened_hdf5(source):
                pass


def test_a_missing_file_is_no_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError), opened_hdf5(tmp_path / "none.h5"):
        pass


def test_heaps_within_heaps_take_bounded_time(tmp_path):
    """Each of these heaps reaches to the end of the file, through all that start after it."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["array"] = np.ones(3)
    count, size = 100_000, 32
    heaps = bytearray()
    for number in range(count):
        rest = (count - number) * size
        covered = 16 if number < count - 1 else 0  # The next heap's header, as its content.
        heaps += HEAP + bytes(3) + rest.to_bytes(8, "little")
        heaps += (1).to_bytes(2, "little") + bytes(6) + covered.to_bytes(8, "little")
    path.write_bytes(path.read_bytes() + heaps)
    start = time.process_time()
    with pytest.raises(Hdf5Error, match="overlapping heaps"), opened_hdf5(path):
        pass
    # All steps would be 5e9, which takes an hour.
    assert time.process_time() - start < 60


@pytest.mark.parametrize("chunks", [None, 50_000])
def test_arrays_that_lie_in_the_same_place_are_refused(tmp_path, chunks):
    """Otherwise, a small file would expand without limit."""
    path, size, n_pieces = tmp_path / "a.h5", 200_000, 40
    with h5py.File(path, "w", libver="earliest") as file:
        if chunks is None:
            arrays = [file.create_dataset(f"{i}", 50_000, "<f4") for i in range(n_pieces)]
        else:
            arrays = [file.create_dataset("0", n_pieces * chunks, "<f4", chunks=(chunks,))]
        for array in arrays:
            array[:] = 1
        if chunks is None:
            places = [array.id.get_offset() for array in arrays]
        else:
            places = [arrays[0].id.get_chunk_info(i).byte_offset for i in range(n_pieces)]
    with opened_hdf5(path) as file:
        assert file["0"][0] == 1
    content, first = path.read_bytes(), min(places)
    end = len(content)
    for place in places:
        content = content.replace(struct.pack("<Q", place), struct.pack("<Q", first))
    content = content.replace(struct.pack("<Q", end), struct.pack("<Q", first + size))
    path.write_bytes(content[: first + size])
    with h5py.File(path) as file:  # HDF5 reads it.
        assert sum(array[:].nbytes for array in file.values()) == n_pieces * size
    with (
        pytest.raises(Hdf5Error, match=r"its arrays would be larger than the file"),
        opened_hdf5(path),
    ):
        pass
