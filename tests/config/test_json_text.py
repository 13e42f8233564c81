import json
import os

import pytest

from config.errors import ConfigError, UserError
from config.json_text import parse_json, read_lines, read_settings
from data.loading.errors import DataError


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, True, None]}, [], "é→", 0, {"x": {"x": 1}, "y": {"x": 2}}]
)
def test_json_is_read_with_and_without_a_byte_order_mark(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert parse_json(text.encode(), "a.json") == value
        assert parse_json(b"\xef\xbb\xbf" + text.encode(), "a.json") == value


def test_pairs_of_surrogates_and_escaped_backslashes_are_characters():
    assert parse_json(rb'"\ud83d\ude00"', "a.json") == "😀"
    assert parse_json(rb'"\\u0000 \\ud83d"', "a.json") == r"\u0000 \ud83d"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"a": 1,\n "b" 2}', "a.json:8: not valid JSON: Expecting ':' delimiter at column 6"),
        (b"", "a.json:7: not valid JSON: Expecting value at column 1"),
        (b'{"a":\n\n"\xff"}', "a.json:9: not UTF-8 text; save the file as UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "a.json: this is UTF-16 or UTF-32 text; save the file as"),
        ('{"a": 1}'.encode("utf-16-le"), "a.json: this is UTF-16 or UTF-32 text"),
        ('{"a": 1}'.encode("utf-16-be"), "a.json: this is UTF-16 or UTF-32 text"),
        ('{"a": 1}'.encode("utf-32"), "a.json: this is UTF-16 or UTF-32 text"),
        (b'{"lr": 1, "x": 2, "lr": 3}', 'a.json:7: key "lr" occurs twice in an object'),
        (b'[{"b": {"a": 1, "a": 1}}]', 'a.json:7: key "a" occurs twice'),
        (b'{"a": NaN}', "a.json:7: NaN is not a number of JSON"),
        (b"[Infinity]", "a.json:7: Infinity is not a number of JSON"),
        (b"[-Infinity]", "a.json:7: -Infinity is not a number of JSON"),
        (b"1" * 5000, "a.json:7: this JSON cannot be read: a number has thousands of digits"),
        (b"[" * 100_000, "a.json:7: this JSON cannot be read: nested too deeply"),
        (b'{"a":' * 100_000, "a.json:7: this JSON cannot be read: nested too deeply"),
        (rb'["kite \ud83d"]', r'a.json:7: the text "kite \ud83d" contains half of a surrogate'),
        (rb'{"\uDE00\uD83D": 1}', "a.json:7: the text"),
        (rb'{"a": [[{"b": "c\u0000"}]]}', r'a.json:7: the text "c\u0000" contains the character'),
        (b'"a\0"', "a.json:7: not valid JSON: Invalid control character"),
    ],
)
def test_a_fault_is_one_sentence_with_file_and_line(content, fault):
    with pytest.raises(ConfigError) as caught:
        parse_json(content, "a.json", 7)
    assert str(caught.value).startswith(fault)
    assert "\n" not in str(caught.value)


def test_the_class_of_the_error_is_the_callers():
    with pytest.raises(DataError):
        parse_json(b"{", "a.json", error=DataError)


def test_lines_end_with_line_feeds_only(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('\n{"a": "x\u2028y\u0085z"}\r\n \t\n[2]'.encode())
    lines = list(read_lines(path))
    assert [number for number, _ in lines] == [2, 4]
    assert [parse_json(line, path, n) for n, line in lines] == [{"a": "x\u2028y\u0085z"}, [2]]


def test_files_that_are_no_json_lines_are_refused_at_once(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' * 3, encoding="utf-16")
    with pytest.raises(UserError, match=r"a.jsonl: this is UTF-16"):
        list(read_lines(path))
    path.write_bytes(b"[1]\n" + b" " * 19 + b"\n")
    assert len(list(read_lines(path, DataError, 20))) == 1
    path.write_bytes(b"[1]\n" + b"x" * 21)
    with pytest.raises(DataError, match=r"a.jsonl:2: the line has more than 20 bytes"):
        list(read_lines(path, DataError, 20))


def test_a_large_file_is_no_config(tmp_path):
    path = tmp_path / "large.json"
    path.write_bytes(b" " * 1_000_001)
    with pytest.raises(ConfigError, match="has more than 1,000,000 bytes; is this a file of set"):
        read_settings(path)


def test_a_pipe_is_no_config(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # Opening one waits for a writer.
    with pytest.raises(ConfigError, match="pipe: a pipe or device, which is not read; name a file"):
        read_settings(tmp_path / "pipe")
