"""Masks: what is written is read again, and every fault of a file is a sentence that names it."""

import json
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from config.errors import NoSpaceError
from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.masks import (
    MaskSizeError,
    MissingMaskError,
    RunLengthError,
    decode_runs,
    open_masks,
    run_lengths,
    write_masks,
)
from tests.limits import memory_within

REMEDY = "; prepare the masks again$"


def referent(mask_id=7):
    return Referent("a.png", (0, 0, 3, 3), 0, mask_id, ("it",))


def random_masks(count=20, seed=0):
    """Masks of many sizes: noise, empty, full and with long runs."""
    rng = np.random.default_rng(seed)
    masks = {}
    for number in range(count):
        height, width = rng.integers(1, 90, 2)
        mask = (rng.random((height, width)) < rng.choice([0, 0.01, 0.5, 1])).astype(np.uint8)
        mask[height // 3 : height // 2] = number % 2
        masks[int(rng.integers(10**9))] = mask
    return masks


def test_masks_are_read_as_they_were_written_by_several_threads(tmp_path):
    written = random_masks()
    write_masks(tmp_path / "new", written.items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["masks.jsonl"]
    masks = open_masks(tmp_path / "new")

    def read(mask_id):
        height, width = written[mask_id].shape
        return masks.read(referent(mask_id), width, height)

    order = random.Random(0).choices(list(written), k=200)
    with ThreadPoolExecutor(4) as pool:
        for mask_id, mask in zip(order, pool.map(read, order), strict=True):
            assert (mask.dtype, mask.flags.c_contiguous) == (np.uint8, True)
            np.testing.assert_array_equal(mask, written[mask_id])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_values_above_zero_are_the_object(tmp_path, dtype):
    values = np.zeros((4, 6), dtype)
    values[1, 2] = 1 if dtype is bool else 200
    write_masks(tmp_path, [(7, values)])
    mask = open_masks(tmp_path).read(referent(), 6, 4)
    assert (mask.sum(), mask[1, 2]) == (1, 1)


def test_lines_are_cocos_run_lengths(tmp_path):
    for mask_id, mask in random_masks().items():
        write_masks(tmp_path, [(mask_id, mask)])
        line = json.loads((tmp_path / "masks.jsonl").read_text())
        assert (line["id"], line["size"]) == (mask_id, list(mask.shape))
        decoded = coco_mask.decode({"size": line["size"], "counts": line["counts"]})
        np.testing.assert_array_equal(decoded, mask)


def test_lines_of_others_may_have_other_keys_spaces_and_empty_lines(tmp_path):
    lines = ['{ "size":[2,3], "counts": "15", "id":7, "area": 5}', "", '{"counts":"6","id":1,']
    text = "\r\n".join([*lines[:2], lines[2] + '"size":[3,2]}'])
    (tmp_path / "masks.jsonl").write_text(text)
    masks = open_masks(tmp_path)
    assert masks.read(referent(7), 3, 2).tolist() == [[0, 1, 1], [1, 1, 1]]
    assert masks.read(referent(1), 2, 3).sum() == 0


LINE = '{"id": 7, "size": [2, 3], "counts": "15"}\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (LINE + LINE, "2: the id 7 occurs in line 1 already"),
        (LINE + LINE[:30], "2: not valid JSON: "),
        ("\n" + LINE.replace("15", "1\xff"), "2: not UTF-8 text"),
        (LINE + "[1, 2]", "2: expected a line like {"),
        (LINE.replace("7", '"7"'), "1: expected a line like"),
        (LINE.replace("7", "true"), "1: expected a line like"),
        (LINE.replace("7", "-7"), "1: expected a line like"),
        (LINE.replace("7", str(2**63)), "1: expected a line like"),
        (LINE.replace("[2, 3]", "[2, 3, 1]"), "1: expected a line like"),
        (LINE.replace("[2, 3]", "[2, 3.0]"), "1: expected a line like"),
        (LINE.replace('"15"', "[1, 5]"), "1: expected a line like"),
    ],
)
def test_a_damaged_file_is_named_with_the_line_when_it_is_opened(tmp_path, text, fault):
    path = tmp_path / "masks.jsonl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=rf"^{path}:{re.escape(fault)}"):
        open_masks(tmp_path)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (LINE.replace("15", "14"), "the run lengths do not add up to 2×3 pixels"),
        (LINE.replace("15", ""), "the run lengths do not add up"),
        (LINE.replace("15", "O7"), "the run lengths do not add up"),
        (LINE.replace("15", "1z"), "the run lengths contain the character 'z'"),
        (LINE.replace("15", "1P"), "the run lengths end within a number"),
        (LINE.replace("15", "1PPPPPPP0"), "contain a number that no image can have"),
        (LINE.replace("15", "0" * 15), "the run lengths are too many for 6 pixels"),
    ],
)
def test_damaged_run_lengths_are_named_with_their_line(tmp_path, line, fault):
    (tmp_path / "masks.jsonl").write_text(LINE.replace("7", "8") + line)
    masks = open_masks(tmp_path)
    assert masks.read(referent(8), 3, 2).sum() == 5
    with pytest.raises(DataError, match=rf"masks\.jsonl:2: .*{re.escape(fault)}.*{REMEDY}"):
        masks.read(referent(), 3, 2)


def test_a_mask_has_an_id_and_the_size_of_its_image(tmp_path):
    write_masks(tmp_path, [(9, np.ones((5, 5))), (7, np.ones((2, 3)))])
    masks = open_masks(tmp_path)
    with pytest.raises(MissingMaskError, match=r"masks\.jsonl: no mask has the id 8 of a referent"):
        masks.read(referent(8), 3, 2)
    with pytest.raises(MissingMaskError, match=r"id 10 .* in a\.png; is seg_gt_path set"):
        masks.read(referent(10), 3, 2)
    fault = r"masks\.jsonl:2: the mask has 3×2 pixels, but its image a\.png has 2×3"
    with pytest.raises(MaskSizeError, match=fault):
        masks.read(referent(7), 2, 3)


def test_a_file_that_is_replaced_while_it_is_open_is_read_as_it_was(tmp_path):
    written = random_masks()
    write_masks(tmp_path, written.items())
    masks = open_masks(tmp_path)
    write_masks(tmp_path, [(1, np.ones((2, 3)))])
    for mask_id, mask in written.items():
        height, width = mask.shape
        np.testing.assert_array_equal(masks.read(referent(mask_id), width, height), mask)


def test_a_file_that_changes_while_it_is_open_is_not_read_wrongly(tmp_path):
    write_masks(tmp_path, [(7, np.ones((2, 3))), (8, np.zeros((2, 3)))])
    masks = open_masks(tmp_path)
    path = tmp_path / "masks.jsonl"
    path.write_text(path.read_text().replace('"id": 8', '"id": 7'))
    with pytest.raises(DataError, match=r"masks\.jsonl:2: the line has changed; start again"):
        masks.read(referent(8), 3, 2)


def test_writing_fails_as_a_whole(tmp_path):
    write_masks(tmp_path, [(1, np.ones((2, 3)))])
    before = (tmp_path / "masks.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"masks\.jsonl: two masks have the id 4"):
        write_masks(tmp_path, [(4, np.ones((2, 3))), (4, np.ones((2, 3)))])
    assert (tmp_path / "masks.jsonl").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_while_masks_are_written_is_a_sentence(small_disk):
    folder = small_disk(200_000)
    write_masks(folder, [(1, np.ones((2, 3)))])
    before = (folder / "masks.jsonl").read_bytes()
    noise = np.random.default_rng(0).random((300, 300)) < 0.5
    with pytest.raises(NoSpaceError, match=r"masks\.jsonl: .*the disk is full"):
        write_masks(folder, ((number, noise) for number in range(100)))
    assert (folder / "masks.jsonl").read_bytes() == before
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("lengths", [[1], [1, 17], [1, 1, 18, 18], [1, 1, 520, 520], [0, 16, 33]])
def test_no_mask_has_more_run_lengths_than_are_decoded(lengths):
    runs = np.resize(lengths, 2_000)
    mask = np.repeat(np.arange(2_000) % 2, runs).astype(np.uint8)[:, None]
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
    assert decode_runs(run_lengths(counts, mask.size), 1, mask.size).sum() == mask.sum()


def test_run_lengths_take_memory_of_the_order_of_the_mask():
    counts = "0" * 20_000_000
    with memory_within(1_000_000), pytest.raises(RunLengthError, match="too many for 2,400 pixels"):
        run_lengths(counts, 2_400)


@pytest.mark.parametrize("name", ["masks.jsonl", "7.npy"])
def test_pipes_are_no_masks(tmp_path, name):
    os.mkfifo(tmp_path / name)  # Opening one waits for a writer.
    with pytest.raises(DataError, match=f"{name}: a pipe or device"):
        open_masks(tmp_path).read(referent(), 3, 2)


def test_run_lengths_of_any_mask():
    for mask in random_masks(60, seed=1).values():
        counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
        height, width = mask.shape
        runs = run_lengths(counts, mask.size)
        np.testing.assert_array_equal(decode_runs(runs, width, height), mask)
    with pytest.raises(RunLengthError, match="do not add up"):
        decode_runs(np.array([5, -1, 2]), 2, 3)


# Folders of .npy files.


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint64, ">i4"])
def test_arrays_of_bool_and_integers_are_masks(tmp_path, shape, dtype):
    values = np.zeros(shape, dtype)
    values[1, 2] = 1
    np.save(tmp_path / "7.npy", np.asfortranarray(values))
    mask = open_masks(tmp_path).read(referent(), 6, 4)
    assert (mask.shape, mask.dtype, mask.sum(), mask[1, 2]) == ((4, 6), np.uint8, 1, 1)


NOT_MASKS = {
    "numbers with a point": np.full((4, 6), np.nan),
    "complex numbers": np.zeros((4, 6), complex),
    "text": np.full((4, 6), "mask"),
    "dates": np.zeros((4, 6), "datetime64[s]"),
    "records": np.zeros((4, 6), [("a", int), ("b", float)]),
    "bytes": np.zeros((4, 6), "V8"),
    "objects": np.array([[{}]]),
    "one axis": np.zeros(24, bool),
    "no axis": np.array(True),
    "colors": np.zeros((4, 6, 3), bool),
    "four axes": np.zeros((4, 6, 1, 1), bool),
    "nothing": np.zeros((0, 6), bool),
}


@pytest.mark.parametrize("kind", NOT_MASKS)
def test_other_arrays_are_not_masks(tmp_path, kind):
    path = tmp_path / "7.npy"
    np.save(path, NOT_MASKS[kind])
    with pytest.raises(DataError, match=rf"^{path}: "):
        open_masks(tmp_path).read(referent(), 6, 4)


def test_negative_numbers_are_no_mask(tmp_path):
    values = np.zeros((4, 6), np.int16)
    values[1, 2] = -1
    np.save(tmp_path / "7.npy", values)
    with pytest.raises(DataError, match=rf"7\.npy: not a readable mask .*negative.*{REMEDY}"):
        open_masks(tmp_path).read(referent(), 6, 4)


def header(shape, dtype="|u1"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "shape", ["(10**9, 10**9)", (10**9, 10**9), (2**62, 8), (-4, -6), (-4, 6), "(4, '6')", "4"]
)
def test_absurd_shapes_are_refused_without_memory_for_them(tmp_path, shape):
    path = tmp_path / "7.npy"
    path.write_bytes(header(shape) + bytes(24))
    with pytest.raises(DataError, match=rf"^{path}: not a readable mask .*{REMEDY}"):
        open_masks(tmp_path).read(referent(), 6, 4)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", header((4, 6)) + bytes(9), b"text " * 99])
def test_files_that_are_no_arrays_are_named(tmp_path, content):
    path = tmp_path / "7.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{path}: not a readable mask .*{REMEDY}"):
        open_masks(tmp_path).read(referent(), 6, 4)


def test_a_parser_that_other_threads_disturb_is_asked_again(tmp_path, monkeypatch):
    np.save(tmp_path / "7.npy", np.ones((4, 6), bool))
    parse, failures = np.lib.format.open_memmap, []

    def disturbed(*arguments, **settings):
        if len(failures) < 3:
            failures.append(1)
            raise SystemError("AST constructor recursion depth mismatch (before=39, after=35)")
        return parse(*arguments, **settings)

    monkeypatch.setattr(np.lib.format, "open_memmap", disturbed)
    assert open_masks(tmp_path).read(referent(), 6, 4).all()


def test_an_archive_is_not_a_mask(tmp_path):
    np.savez(tmp_path / "7.npz", np.ones((4, 6)))
    (tmp_path / "7.npz").rename(tmp_path / "7.npy")
    with pytest.raises(DataError, match=r"7\.npy: not a readable mask"):
        open_masks(tmp_path).read(referent(), 6, 4)


def test_a_mask_file_has_a_name_and_the_size_of_its_image(tmp_path):
    masks = open_masks(tmp_path)
    with pytest.raises(
        MissingMaskError, match=r"7\.npy: no such mask; is seg_gt_path .*--generate_mask"
    ):
        masks.read(referent(), 6, 4)
    np.save(tmp_path / "7.npy", np.full((4, 6, 1), 2, np.uint8))
    assert masks.read(referent(), 6, 4).tolist() == [[1] * 6] * 4
    with pytest.raises(MaskSizeError, match=r"has 6×4 pixels, but its image a\.png has 4×6"):
        masks.read(referent(), 4, 6)
