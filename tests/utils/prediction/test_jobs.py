"""The jobs of predict.py are read from its arguments or a list."""

import json
import os

import pytest

from config.errors import UserError
from utils.prediction.jobs import Job, jobs_from_images, jobs_from_list


def test_a_folder_gives_one_job_per_image(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "c.webp", "d.jpg.part"):
        (tmp_path / name).touch()
    (tmp_path / "below.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")  # Opening one waits for a writer.
    jobs = jobs_from_images(tmp_path, ["red", "blue"])
    assert [job.image.name for job in jobs] == ["a.png", "b.JPG", "c.webp"]
    assert {job.expressions for job in jobs} == {("red", "blue")}
    assert jobs_from_images(tmp_path / "a.png", ["red"]) == [Job(tmp_path / "a.png", ("red",))]


@pytest.mark.parametrize(
    ("name", "expressions", "message"),
    [
        ("", ["red"], "no image in this folder"),
        ("missing.jpg", ["red"], r"missing\.jpg: no such image or folder"),
        ("", ["red", " "], "an expression is empty"),
    ],
)
def test_bad_images_or_expressions_are_refused(tmp_path, name, expressions, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        jobs_from_images(tmp_path / name, expressions)


def test_a_list_gathers_the_expressions_of_each_image(tmp_path):
    rows = [
        {"image": "b.jpg", "expression": "the dog"},
        {"image": "/elsewhere/a.jpg", "expressions": ["left one", "Hund"]},
        {"image": "b.jpg", "expression": "the café"},
    ]
    path = tmp_path / "list.jsonl"
    text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\ufeff" + text, encoding="utf-8")
    first, second = jobs_from_list(path)
    assert first == Job(tmp_path / "b.jpg", ("the dog", "the café"))
    assert str(second.image) == "/elsewhere/a.jpg"
    assert second.expressions == ("left one", "Hund")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"list\.jsonl:2: not valid JSON: .* at column 2"),
        ("[]", ":2: each line must be an object such as"),
        ('{"image": 3, "expression": "a"}', ":2: key 'image' is 3, but must be a file name"),
        ('{"image": "a.jpg"}', ":2: key 'expression' is missing, but must be an expression"),
        ('{"image": "a.jpg", "expression": " "}', ":2: key 'expression' is"),
        ('{"image": "a.jpg", "expressions": "a"}', ":2: key 'expressions' is .* a list"),
        ('{"image": "a.jpg", "expressions": []}', ":2: key 'expressions' is .* a list"),
        (
            '{"image": "a.jpg", "expressions": ["a"], "expression": "b"}',
            ":2: key 'expression' must not be combined",
        ),
        ('{"image": "a.jpg", "image": "b.jpg", "expression": "a"}', ':2: key "image" occurs twice'),
        (r'{"image": "a.jpg", "expression": "a \ud83d"}', ":2: .* half of a surrogate pair"),
        (r'{"image": "a\u0000.jpg", "expression": "a"}', ":2: .* character NUL"),
        ('{"image": "a.jpg", "expression": ' + "[" * 100_000, ":2: .* nested too deeply"),
        ('{"image": "a.jpg", "expression": ' + "1" * 5000 + "}", ":2: .* thousands of digits"),
    ],
)
def test_errors_name_the_line(tmp_path, line, message):
    path = tmp_path / "list.jsonl"
    path.write_text('{"image": "a.jpg", "expression": "a"}\n' + line)
    with pytest.raises(ValueError, match=message):
        jobs_from_list(path)


def test_errors_name_the_list(tmp_path):
    path = tmp_path / "list.jsonl"
    with pytest.raises(FileNotFoundError, match=r"list\.jsonl: no such file"):
        jobs_from_list(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="the file has no lines"):
        jobs_from_list(path)
    path.write_text("{}", encoding="utf-16")
    with pytest.raises(ValueError, match=r"list\.jsonl: this is UTF-16"):
        jobs_from_list(path)
    path.write_bytes(b"\n\xff{}")
    with pytest.raises(ValueError, match=r"list\.jsonl:2: not UTF-8 text"):
        jobs_from_list(path)


def test_only_line_feeds_end_a_line(tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"image": "a.jpg", "expression": "left\u2028kite\u0085"}\r\n', encoding="utf-8"
    )
    assert jobs_from_list(path) == [Job(tmp_path / "a.jpg", ("left\u2028kite\u0085",))]


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: not a file"):
        jobs_from_list(tmp_path / "pipe")
