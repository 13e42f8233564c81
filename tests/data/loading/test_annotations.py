import dataclasses

import pytest

from config.errors import shown
from data.loading.annotations import (
    Referent,
    check_box_in_image,
    clean_expression,
    format_line,
    parse_line,
    read_annotations,
    write_annotations,
)
from data.loading.errors import DataError
from tests.limits import memory_within

LINE = "a.jpg 103,93,260,424,0,1719 ~ the lady with the blue shirt ~ lady with back to us"
REFERENT = Referent(
    image="a.jpg",
    box_xyxy_px=(103, 93, 260, 424),
    category=0,
    mask_id=1719,
    expressions=("the lady with the blue shirt", "lady with back to us"),
)


def test_a_line_and_its_referent():
    assert parse_line(LINE + "\r\n") == REFERENT
    assert format_line(REFERENT) == LINE


@pytest.mark.parametrize(
    "expression",
    [
        *("a  b   c", "don't ~touch", "a~b", "~~", "größe 赤い", '"quoted", [x]', "tab\tin"),
        # Line ends of Unicode, but not of the file.
        *("a\u2028b", "a\u2029b", "a\x85b", "a\x0bb\x0cc", "a\x1cb\x1dc\x1ed"),
        *("a\ufeffb", "\ufeffa", "a\u2028~\u2028b", "👩‍🚀 flag 🏴"),
    ],
)
def test_awkward_expressions_come_back_as_they_were(tmp_path, expression):
    referent = dataclasses.replace(REFERENT, expressions=("first", expression, "last"))
    assert parse_line(format_line(referent)) == referent
    write_annotations(tmp_path / "val.txt", [REFERENT, referent])
    assert read_annotations(tmp_path / "val.txt") == [REFERENT, referent]


def test_image_names_may_contain_spaces_and_folders():
    referent = dataclasses.replace(REFERENT, image="my pictures/a b.jpg")
    assert parse_line(format_line(referent)) == referent


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a.jpg", "expected 'image x1,y1"),
        ("1,2,3,4,5,6 ~ no image", "expected 'image x1,y1"),
        ("a.jpg 1,2,3,4,5 ~ x", "expected 6 numbers"),
        ("a.jpg 1,2,3.5,4,5,6 ~ x", 'x2 is not a whole number: "3.5"'),
        ("a.jpg 1,2,3,4,5,id ~ x", 'mask-id is not a whole number: "id"'),
        ("a.jpg 1,2,٣,4,5,6 ~ x", 'x2 is not a whole number: "٣"'),
        ("a.jpg 1,2,3_0,4,5,6 ~ x", 'x2 is not a whole number: "3_0"'),
        ("a.jpg 1,2,,4,5,6 ~ x", 'x2 is not a whole number: ""'),
        ("a.jpg 1,2,3,4,5,1000000000000000 ~ x", "mask-id has too many digits"),
        ("a.jpg 5,2,5,4,0,6 ~ x", "the box 5,2,5,4 is empty"),
        ("a.jpg 1,9,3,4,0,6 ~ x", "the box 1,9,3,4 is empty"),
        ("a.jpg -9,2,3,4,0,6 ~ x", "center of box -9,2,3,4 lies outside"),
        ("a.jpg 1,2,3,4,-1,6 ~ x", "category -1"),
        ("a.jpg 1,2,3,4,0,6", "no expression"),
        ("a.jpg 1,2,3,4,0,6 ~ x ~  ~ y", "an expression is empty"),
        ("a\0.jpg 1,2,3,4,0,6 ~ x", "NUL"),
        ("a.jpg 1,2,3,4,0,6 ~ x\0y", "NUL"),
        ("a.jpg 1,2,3,4,0,6 ~ kite \ud83d", "surrogate"),
        ("a.jpg 1,2,3,4,0,6 ~ x\ry", "line end"),
        ("\ufeffa.jpg 1,2,3,4,0,6 ~ x", "image name"),
    ],
)
def test_malformed_lines_are_refused_with_file_number_and_text(line, fault):
    with pytest.raises(DataError, match=r"val\.txt:7: ") as caught:
        parse_line(line, "val.txt", 7)
    assert fault in str(caught.value)
    assert str(caught.value).endswith(f"the line is {shown(line)}")


def test_a_long_malformed_line_is_shown_in_part():
    with pytest.raises(DataError, match=r"…$") as caught:
        parse_line("a.jpg 1,2 ~ " + "word " * 1000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "part", ["9" * 5000, "-" + "9" * 5000, "0x" * 5000, "word " * 5000, "1," * 5000]
)
def test_a_fault_of_any_length_is_a_short_sentence(part):
    with pytest.raises(DataError, match=r"val\.txt:7: ") as caught:
        parse_line(f"a.jpg 1,2,{part},4,5,6 ~ x", "val.txt", 7)
    assert len(str(caught.value)) < 1000


def test_negative_zero_is_zero():
    assert parse_line("a.jpg -0,2,3,4,0,-0 ~ x") == Referent("a.jpg", (0, 2, 3, 4), 0, 0, ("x",))


@pytest.mark.parametrize(
    "change",
    [
        {"expressions": ("red ~ cup",)},
        {"expressions": ("~ cup",)},
        {"expressions": ("cup ~",)},
        {"expressions": ("two\nlines",)},
        {"expressions": (" blank before",)},
        {"expressions": ("",)},
        {"expressions": ()},
        {"image": "a ~ b.jpg"},
        {"image": "a\nb.jpg"},
        {"image": ""},
        {"image": "kite \ud83d.jpg"},
        {"expressions": ("kite \ud83d",)},
        {"box_xyxy_px": (5, 5, 4, 9)},
        {"mask_id": -1},
        {"mask_id": 10**15},
        {"mask_id": 10**5000},
        {"box_xyxy_px": (0, 0, 10**5000, 9)},
        {"image": "\ufeffa.jpg"},
        {"image": "a\rb.jpg"},
        {"image": "a\0b.jpg"},
        {"expressions": ("a\0b",)},
        {"expressions": ("a\rb",)},
    ],
)
def test_what_a_line_cannot_hold_is_refused(change):
    with pytest.raises(DataError, match="referent with mask-id"):
        format_line(dataclasses.replace(REFERENT, **change))


@pytest.mark.parametrize(
    ("expression", "cleaned"),
    [
        ("red ~ cup", "red cup"),
        ("~ cup ~ ~", "cup"),
        ("two\r\nlines", "two lines"),
        ("  a  b ", "a  b"),
        ("a~b", "a~b"),
        ("~", ""),
    ],
)
def test_cleaned_expressions_can_be_stored(expression, cleaned):
    assert clean_expression(expression) == cleaned
    if cleaned:
        format_line(dataclasses.replace(REFERENT, expressions=(cleaned,)))


def test_files_come_back(tmp_path):
    path = tmp_path / "anns" / "val.txt"
    other = dataclasses.replace(REFERENT, image="b.jpg", expressions=("größe",))
    write_annotations(path, [REFERENT, other])
    assert read_annotations(path) == [REFERENT, other]
    assert [file.name for file in path.parent.iterdir()] == ["val.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "val.txt"
    write_annotations(path, [REFERENT])
    with pytest.raises(DataError, match="cannot be stored"):
        write_annotations(path, [dataclasses.replace(REFERENT, expressions=("a ~ b",))])
    assert read_annotations(path) == [REFERENT]


def test_byte_order_marks_are_not_part_of_an_image_name(tmp_path):
    path = tmp_path / "val.txt"
    path.write_text(LINE, encoding="utf-8-sig")
    assert read_annotations(path) == [REFERENT]
    # Two files, put together.
    path.write_bytes(2 * f"\ufeff{LINE}\r\n\ufeff\n".encode())
    assert read_annotations(path) == [REFERENT] * 2


def test_a_line_without_end_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "val.txt"
    with path.open("wb") as file:
        file.write(f"{LINE}\n".encode())
        file.truncate(1_000_000_000)
    with memory_within(30_000_000), pytest.raises(DataError, match=r"val\.txt:2: .* bytes"):
        read_annotations(path)


def test_a_line_of_many_expressions_is_read(tmp_path):
    path = tmp_path / "val.txt"
    many = dataclasses.replace(REFERENT, expressions=tuple(f"thing {n}" for n in range(5000)))
    write_annotations(path, [many])
    assert read_annotations(path) == [many]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data/README\.md says how to prepare"):
        read_annotations(tmp_path / "missing.txt")
    path = tmp_path / "val.txt"
    path.write_text("\n\n")
    with pytest.raises(DataError, match="contains no referent"):
        read_annotations(path)
    path.write_text(LINE + "\n\nbroken\n")
    with pytest.raises(DataError, match=r'val\.txt:3: .*"broken"'):
        read_annotations(path)
    path.write_bytes(LINE.encode() + b" \xff\xfe\n")
    with pytest.raises(DataError, match=r"val\.txt:1: not UTF-8"):
        read_annotations(path)
    path.write_text(LINE, encoding="utf-16")
    with pytest.raises(DataError, match=r"val\.txt: this is UTF-16"):
        read_annotations(path)


@pytest.mark.parametrize("box", [(90, 0, 110, 10), (0, 40, 10, 60), (95, 0, 200, 10)])
def test_a_box_whose_center_is_on_no_pixel_is_refused(box):
    referent = dataclasses.replace(REFERENT, box_xyxy_px=box)
    with pytest.raises(DataError, match=r"a\.jpg: the center .* image of 100×50"):
        check_box_in_image(referent, 100, 50)


def test_a_box_up_to_the_border_is_good():
    check_box_in_image(dataclasses.replace(REFERENT, box_xyxy_px=(99, 49, 100, 50)), 100, 50)
