"""Random annotation lines and files."""

from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import UserError
from data.loading.annotations import (
    MAX_NUMBER,
    Referent,
    clean_expression,
    format_line,
    parse_line,
    read_annotations,
    write_annotations,
)
from tests.limits import memory_within

# All of Unicode, and often what has a meaning in a line, in a file or for Python.
TEXTS = st.text() | st.text(st.sampled_from(" ~,\n\r\t\0\ufeff\u2028\x85\x1c\u3000\ud83da1-"))
INTEGERS = st.integers() | st.integers(-3, 700) | st.sampled_from([MAX_NUMBER, 10**15])
REFERENTS = st.builds(
    Referent,
    image=TEXTS,
    box_xyxy_px=st.tuples(INTEGERS, INTEGERS, INTEGERS, INTEGERS),
    category=INTEGERS,
    mask_id=INTEGERS,
    expressions=st.lists(TEXTS, max_size=4).map(tuple),
)
SIDES = st.integers(0, MAX_NUMBER)
WORDS = TEXTS.map(clean_expression).filter(lambda text: text and "\0" not in text)
STORABLE = st.builds(
    Referent,
    image=WORDS.filter(lambda text: text[0] != "\ufeff"),
    box_xyxy_px=st.tuples(SIDES, SIDES, SIDES, SIDES)
    .map(lambda box: (min(box[::2]), min(box[1::2]), max(box[::2]), max(box[1::2])))
    .filter(lambda box: box[0] < box[2] and box[1] < box[3]),
    category=SIDES,
    mask_id=SIDES,
    expressions=st.lists(WORDS, min_size=1, max_size=4).map(tuple),
).filter(lambda referent: "\ud83d" not in referent.image + "".join(referent.expressions))
PARTS = [
    *(" ", ",", " ~ ", "~", "\n", "\r\n", "\r", "\ufeff", "\0", "\u2028"),
    *("a.jpg", "1", "-0", "٣", "9" * 5000, " 1,2,30,40,5,6 ~ red"),
]
LINES = st.lists(st.sampled_from(PARTS)).map("".join)


def message_of(function, *arguments):
    """What the function refuses its arguments with; None if it takes them."""
    try:
        function(*arguments)
    except UserError as error:
        return str(error)
    return None


@given(REFERENTS | STORABLE)
def test_what_can_be_formatted_comes_back(referent):
    if message_of(format_line, referent) is None:
        assert parse_line(format_line(referent)) == referent


@given(st.lists(STORABLE, min_size=1, max_size=4))
def test_what_can_be_stored_comes_back_from_a_file(tmp_path, referents):
    write_annotations(tmp_path / "a.txt", referents)
    assert read_annotations(tmp_path / "a.txt") == referents


@given(TEXTS | LINES)
@example("a.jpg 1,2,3,4,5,6 ~ x ~")
@example(f"a.jpg 1,2,{9 * 10**3000}{9 * 10**3000},4,5,6 ~ x")
@example("a.jpg 1,2,3,4,5,6 ~ \ud83d")
def test_any_line_is_a_referent_or_an_error_that_names_it(line):
    message = message_of(parse_line, line, "val.txt", 7)
    if message is None:
        str(parse_line(line)).encode()  # No surrogates.
    else:
        assert message.startswith("val.txt:7: ")
        assert len(message) < 5000


@given(st.binary() | LINES.map(str.encode) | LINES.map(lambda text: text.encode("utf-16")))
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfe")
@example(b"a.jpg 1,2,3,4,5,6 ~ x\n" + b" ~ xy" * 1_000_000)
@example(b"a.jpg 1,2,3,4,5,6" + b" ~ xy" * 700_000)
def test_any_file_is_a_list_or_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "val.txt"
    path.write_bytes(content)
    with memory_within(250_000_000):
        message = message_of(read_annotations, path)
    assert message is None or message.startswith(f"{path}:")
