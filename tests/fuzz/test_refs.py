"""Raw data sets of the RefCOCO family: pickles and tables from strangers."""

import contextlib
import json
import pickle
import shutil
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UserError
from data.preparation.raw.plain_pickle import UnreadablePickleError, safe_unpickle
from data.preparation.raw.reading import read_raw_set
from data.preparation.referring_sets import prepare_set
from tests.data.raw_set import FIXTURE
from tests.fuzz.mutation import VALUES, damaged_bytes, damaged_value
from tests.limits import memory_within

FOLDER = FIXTURE / "refcoco"
PICKLE = (FOLDER / "refs(unc).p").read_bytes()
REFS = pickle.loads(PICKLE)
INSTANCES = json.loads((FOLDER / "instances.json").read_text())
# Plain data that pickles can contain and JSON cannot.
PLAIN = VALUES | st.sampled_from([b"\xff", {1, 2}, frozenset(), (1, 2), 10**5000, {(1,): 2}, 1j])


def prepare(refs: bytes, instances: bytes) -> None:
    """Prepares a raw set, which may be refused."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw", "refcoco")
        raw.mkdir(parents=True)
        (raw / "refs(unc).p").write_bytes(refs)
        (raw / "instances.json").write_bytes(instances)
        done = False
        with contextlib.suppress(UserError):
            prepare_set(read_raw_set(raw.parent, "refcoco", "unc"), folder, generate_mask=True)
            done = True
        assert Path(folder, "anns", "refcoco").exists() == done


@pytest.fixture(autouse=True)
def bounded_memory():
    with memory_within(200_000_000):
        yield


def test_the_undamaged_set_is_prepared(tmp_path):
    prepare_set(read_raw_set(FIXTURE, "refcoco", "unc"), tmp_path, generate_mask=True)
    assert (tmp_path / "masks/refcoco/masks.jsonl").stat().st_size > 0


@given(damaged_bytes(PICKLE) | st.binary(max_size=60))
def test_damaged_pickles(content):
    with contextlib.suppress(UnreadablePickleError):
        safe_unpickle(content, "refs.p")


@given(damaged_value(REFS, PLAIN), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_referents_with_damaged_fields(refs, protocol):
    try:
        content = pickle.dumps(refs, protocol)
    except ValueError:  # Old protocols cannot store some text and numbers.
        return
    prepare(content, (FOLDER / "instances.json").read_bytes())


@given(damaged_value(INSTANCES))
def test_tables_with_damaged_fields(instances):
    prepare(PICKLE, json.dumps(instances).encode())


@pytest.mark.parametrize("number", [0x5FFFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
def test_numbers_in_a_pickle_allocate_nothing(number):
    with memory_within(20_000_000):
        safe_unpickle(b"\x80\x02]r" + struct.pack("<I", number) + b".", "refs.p")
        for opcode in (b"B", b"T", b"X", b"\x8b"):
            with pytest.raises(UnreadablePickleError):
                safe_unpickle(b"\x80\x04" + opcode + struct.pack("<I", number) + b"a.", "refs.p")


def test_lists_that_contain_each_other_are_not_expanded(tmp_path):
    laughs: list = []
    for _ in range(60):
        laughs = [laughs, laughs]
    circle: list = []
    circle.append(circle)
    shutil.copytree(FOLDER, tmp_path / "refcoco")
    for value in (laughs, circle, {"a": laughs}, tuple(laughs), 10**5000):
        for key in ("ref_id", "sentences", "split", "ann_id", "category_id"):
            refs = pickle.dumps([REFS[0] | {key: value}])
            (tmp_path / "refcoco" / "refs(unc).p").write_bytes(refs)
            with pytest.raises(UserError, match=f"'{key}' is ") as caught:
                read_raw_set(tmp_path, "refcoco", "unc")
            assert len(str(caught.value)) < 400
