"""JSON lines from strangers: lists of predict.py, objects and expressions of the import."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UserError
from config.json_text import parse_json
from data.preparation.own.entries import json_lines, read_json_lines
from tests.fuzz.mutation import VALUES, damaged_bytes, damaged_value
from tests.limits import memory_within
from utils.prediction.jobs import jobs_from_list

WANTED = [
    {"image": "a.jpg", "expression": "the dog"},
    {"image": "b/ä.jpg", "expressions": ["left\u2028one", "Hund"]},
]
OBJECTS = [
    {
        **{"image": "a.jpg", "box": [10, 20, 110.5, 220], "expressions": ["red kite", "kite"]},
        **{"polygon": [[10, 20, 110, 20, 60, 220]], "split": "val", "category": 3},
    },
    {"image": "b.jpg", "rle": {"size": [2, 3], "counts": [1, 2, 3]}, "expressions": ["box"]},
    {"image": "c.jpg", "mask": "c.png", "expressions": ["ball"]},
]


@pytest.fixture(autouse=True)
def bounded_memory():
    with memory_within(200_000_000):
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("lines") / "lines.jsonl"


def lines_of(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read_in_all_ways(path):
    """Whatever is read can be stored; faults are sentences that begin with the file."""
    faults = []
    with contextlib.suppress(UserError):
        for job in jobs_from_list(path):
            str(job.image).encode()
            "".join(job.expressions).encode()
    with contextlib.suppress(UserError):
        data = read_json_lines([path])
        faults += data.faults
        for entry in data.entries:
            "".join((entry.image, *entry.expressions, entry.split or "")).encode()
    with contextlib.suppress(UserError):
        list(json_lines(path, faults))
    assert all(fault.startswith(f"{path}:") and "\n" not in fault for fault in faults)


def test_the_undamaged_lines_are_read(path):
    path.write_bytes(lines_of(WANTED))
    assert [len(job.expressions) for job in jobs_from_list(path)] == [1, 2]
    path.write_bytes(lines_of(OBJECTS))
    data = read_json_lines([path])
    assert (len(data.entries), data.faults) == (3, [])


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes(path, content):
    path.write_bytes(content)
    read_in_all_ways(path)


@given(damaged_bytes(lines_of(WANTED)) | damaged_bytes(lines_of(OBJECTS)))
def test_damaged_lines(path, content):
    path.write_bytes(content)
    read_in_all_ways(path)


@given(damaged_value(WANTED) | damaged_value(OBJECTS) | st.lists(VALUES, max_size=3))
def test_any_structure(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read_in_all_ways(path)


@given(VALUES)
def test_valid_values_are_returned_as_they_are(value):
    """Everything that the parser accepts is what Python's own parser returns."""
    content = json.dumps(value).encode()
    with contextlib.suppress(UserError):
        parsed = parse_json(content, "a.json")
        assert parsed == json.loads(content)
        json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()


@given(st.sampled_from("[{"), st.integers(1, 200_000), st.sampled_from(["", "1", "]", '"a":']))
def test_any_depth(path, bracket, depth, end):
    path.write_text(('{"a":' if bracket == "{" else bracket) * depth + end + "\n")
    read_in_all_ways(path)


@given(st.integers(1, 100_000), st.sampled_from(["", "-", "0.", "1e", "[", '"\\u']))
def test_any_length_of_a_number(path, digits, start):
    row = f'{{"image": "a.jpg", "expressions": ["a"], "box": [1, 2, 3, {start}{"7" * digits}]}}'
    path.write_text(row + "\n")
    read_in_all_ways(path)
