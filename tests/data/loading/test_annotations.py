import dataclasses

import pytest

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
    ["a  b   c", "don't ~touch", "a~b", "~~", "größe 赤い", '"quoted", [x]', "tab\tin"],
)
def test_awkward_expressions_come_back_as_they_were(expression):
    referent = dataclasses.replace(REFERENT, expressions=("first", expression, "last"))
    assert parse_line(format_line(referent)) == referent


def test_image_names_may_contain_spaces_and_folders():
    referent = dataclasses.replace(REFERENT, image="my pictures/a b.jpg")
    assert parse_line(format_line(referent)) == referent


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a.jpg", "expected 'image x1,y1"),
        ("1,2,3,4,5,6 ~ no image", "expected 'image x1,y1"),
        ("a.jpg 1,2,3,4,5 ~ x", "expected 6 numbers"),
        ("a.jpg 1,2,3.5,4,5,6 ~ x", "x2 is not a whole number: '3.5'"),
        ("a.jpg 1,2,3,4,5,id ~ x", "mask-id is not a whole number: 'id'"),
        ("a.jpg 5,2,5,4,0,6 ~ x", "the box 5,2,5,4 is empty"),
        ("a.jpg 1,9,3,4,0,6 ~ x", "the box 1,9,3,4 is empty"),
        ("a.jpg -9,2,3,4,0,6 ~ x", "center of box -9,2,3,4 lies outside"),
        ("a.jpg 1,2,3,4,-1,6 ~ x", "category -1"),
        ("a.jpg 1,2,3,4,0,6", "no expression"),
        ("a.jpg 1,2,3,4,0,6 ~ x ~  ~ y", "an expression is empty"),
    ],
)
def test_malformed_lines_are_refused_with_file_number_and_text(line, fault):
    with pytest.raises(DataError, match=r"val\.txt:7: ") as caught:
        parse_line(line, "val.txt", 7)
    assert fault in str(caught.value)
    assert repr(line) in str(caught.value)


def test_a_long_malformed_line_is_shown_in_part():
    with pytest.raises(DataError, match=r"…'$") as caught:
        parse_line("a.jpg 1,2 ~ " + "word " * 1000)
    assert len(str(caught.value)) < 400


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


def test_a_byte_order_mark_is_not_part_of_the_first_image_name(tmp_path):
    path = tmp_path / "val.txt"
    path.write_text(LINE, encoding="utf-8-sig")
    assert read_annotations(path) == [REFERENT]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_process\.py writes it"):
        read_annotations(tmp_path / "missing.txt")
    path = tmp_path / "val.txt"
    path.write_text("\n\n")
    with pytest.raises(DataError, match="contains no referent"):
        read_annotations(path)
    path.write_text(LINE + "\n\nbroken\n")
    with pytest.raises(DataError, match=r"val\.txt:3: .*'broken'"):
        read_annotations(path)
    path.write_bytes(LINE.encode() + b" \xff\xfe\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_annotations(path)


@pytest.mark.parametrize("box", [(90, 0, 110, 10), (0, 40, 10, 60), (95, 0, 200, 10)])
def test_a_box_whose_center_is_on_no_pixel_is_refused(box):
    referent = dataclasses.replace(REFERENT, box_xyxy_px=box)
    with pytest.raises(DataError, match=r"a\.jpg: the center .* image of 100×50"):
        check_box_in_image(referent, 100, 50)


def test_a_box_up_to_the_border_is_good():
    check_box_in_image(dataclasses.replace(REFERENT, box_xyxy_px=(99, 49, 100, 50)), 100, 50)
