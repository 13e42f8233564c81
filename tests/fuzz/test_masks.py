"""Random damage to files of masks: a sentence or a mask, and bounded memory."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UserError
from data.loading.annotations import Referent
from data.loading.masks import open_masks, write_masks
from tests.limits import memory_within

WIDTH, HEIGHT = 30, 20
MEMORY = 100_000_000
REFERENTS = [Referent("a.png", (0, 0, 3, 3), 0, mask_id, ("it",)) for mask_id in (1, 2, 3)]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
run_characters = st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=30)
edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.sampled_from("rid")),
    max_size=6,
)


def edited(content, changes):
    """Replaces, inserts or deletes bytes at relative positions."""
    content = bytearray(content)
    for where, value, kind in changes:
        place = int(where * len(content))
        if kind == "i":
            content.insert(place, value)
        elif content and kind == "r":
            content[place] = value
        elif content:
            del content[place]
    return bytes(content)


def read_all(folder):
    """Reads every mask; counts those that could be read."""
    try:
        masks = open_masks(folder)
    except UserError:
        return 0
    read = 0
    for referent in REFERENTS:
        try:
            mask = masks.read(referent, WIDTH, HEIGHT)
        except UserError:
            continue
        assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), np.uint8)
        assert set(np.unique(mask)) <= {0, 1}
        read += 1
    return read


@pytest.fixture(autouse=True)
def bounded_memory(tmp_path_factory):
    with memory_within(MEMORY):
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a file with three masks."""
    folder = tmp_path_factory.mktemp("masks")
    rng = np.random.default_rng(0)
    write_masks(folder, ((r.mask_id, rng.random((HEIGHT, WIDTH)) < 0.3) for r in REFERENTS))
    assert read_all(folder) == 3
    return (folder / "masks.jsonl").read_bytes()


@given(edits)
def test_edited_files(tmp_path, written, changes):
    (tmp_path / "masks.jsonl").write_bytes(edited(written, changes))
    assert read_all(tmp_path) == 3 or changes


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path, content):
    (tmp_path / "masks.jsonl").write_bytes(content)
    read_all(tmp_path)


@given(st.lists(json_values | run_characters.map(lambda counts: {"counts": counts}), max_size=4))
def test_any_json(tmp_path, rows):
    lines = []
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            row = {"id": number, "size": [HEIGHT, WIDTH], "counts": "", **row}
        lines.append(json.dumps(row))
    (tmp_path / "masks.jsonl").write_text("\n".join(lines))
    read_all(tmp_path)


@given(edits, st.sampled_from(["?", "|u1", "<i8", ">f4", "<U3", "<M8[s]"]), st.booleans())
def test_edited_arrays(tmp_path, changes, dtype, fortran):
    buffer = io.BytesIO()
    array = np.ones((HEIGHT, WIDTH), np.uint8).astype(dtype, order="F" if fortran else "C")
    np.save(buffer, array)
    (tmp_path / "1.npy").write_bytes(edited(buffer.getvalue(), changes))
    read_all(tmp_path)


@given(
    st.lists(st.integers(-(2**63), 2**70) | st.sampled_from([HEIGHT, WIDTH, 0, -1]), max_size=4),
    st.sampled_from(["?", "|u1", "<i8", "<f8", "|O", "|V8", "<U9999999", "nonsense", "('<i4', 3)"]),
    st.binary(max_size=700),
)
def test_any_shapes(tmp_path, shape, dtype, pixels):
    header = {"descr": dtype, "fortran_order": False, "shape": tuple(shape)}
    text = (repr(header) + "\n").encode()
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + pixels
    (tmp_path / "1.npy").write_bytes(content)
    read_all(tmp_path)
