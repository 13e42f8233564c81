"""Referents, and the lines of anns/<dataset>/<split>.txt that describe them.

A line consists of the image name, a space, `x1,y1,x2,y2,category,mask-id`, and all expressions,
each preceded by `" ~ "`:

    COCO_train2014_000000581857.jpg 103,93,260,424,0,1719 ~ the lady with the blue shirt ~ lady
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from config.errors import shown
from config.files import write_text
from config.json_text import read_lines
from config.run_files.commands import how_to_get
from data.loading.errors import DataError

SEPARATOR = " ~ "
_FIELDS = ("x1", "y1", "x2", "y2", "category", "mask-id")
_WHOLE_NUMBER = re.compile("-?[0-9]+")
_COCO_NAME = re.compile(r"(?:COCO_\w+_)?(\d{12})\.\w+")
MAX_LINE_BYTES = 4_000_000
MAX_NUMBER = 10**15 - 1  # Exact in float64 as well.


@dataclass(frozen=True)
class Referent:
    """One object in one image and the expressions that refer to it.

    Attributes:
        image: name of the image file, relative to the image folder.
        box_xyxy_px: left, top, right, bottom in pixels of the original image.
        category: COCO category 0–79; data sets without COCO images use other numbers.
        mask_id: id of its mask, see `data.loading.masks`.
        expressions: at least one; words are separated by spaces.
        mask_folder: folder of its mask, where sets with masks in several folders are read together.
    """

    image: str
    box_xyxy_px: tuple[int, int, int, int]
    category: int
    mask_id: int
    expressions: tuple[str, ...]
    mask_folder: str = ""


def parse_line(line: str, source: str = "<line>", line_number: int = 0) -> Referent:
    """Parses one line.

    Args:
        line: the text, with or without its line end.
        source: file the line comes from, for error messages.
        line_number: counted from 1, for error messages.

    Raises:
        DataError: the line is malformed; the message gives source, line number, fault and text.
    """
    text = line.strip()
    try:
        head, *expressions = text.split(SEPARATOR)
        image, separator, numbers = head.rpartition(" ")
        if not separator or not image.strip():
            raise DataError("expected 'image x1,y1,x2,y2,category,mask-id ~ expression ~ …'")
        x1, y1, x2, y2, category, mask_id = _parse_numbers(numbers)
        referent = Referent(
            image=image.strip(),
            box_xyxy_px=(x1, y1, x2, y2),
            category=category,
            mask_id=mask_id,
            expressions=tuple(expression.strip() for expression in expressions),
        )
        _check(referent)
    except DataError as error:
        raise DataError(f"{source}:{line_number}: {error}; the line is {shown(text)}") from None
    return referent


def format_line(referent: Referent) -> str:
    """Formats one referent as a line without a line end; the inverse of `parse_line`.

    Raises:
        DataError: a line cannot represent the referent: its box has no area, or it has no
            expression, or a text is empty, contains a line end, NUL, or half of a surrogate pair,
            or an expression contains "~" as a word. Such expressions are refused instead of
            repaired, so that the stored text equals the given text; `clean_expression` repairs
            them on request.
    """
    try:
        _check(referent)
        for expression in referent.expressions:
            if clean_expression(expression) != expression:
                raise DataError(
                    f"the expression {shown(expression)} cannot be stored: line ends, surrounding "
                    'spaces and "~" as a word have a special meaning (clean_expression removes '
                    "them)"
                )
        if referent.image != referent.image.strip() or SEPARATOR in referent.image + " ":
            raise DataError(f"the image name {shown(referent.image)} cannot be stored")
    except DataError as error:
        number = referent.mask_id if _is_small(referent.mask_id) else "of too many digits"
        raise DataError(f"referent with mask-id {number}: {error}") from None
    numbers = ",".join(
        str(value) for value in (*referent.box_xyxy_px, referent.category, referent.mask_id)
    )
    return SEPARATOR.join([f"{referent.image} {numbers}", *referent.expressions])


def clean_expression(expression: str) -> str:
    """Makes an expression storable by removing "~" as a word, line ends and surrounding spaces.

    An expression that can be stored as it is, is returned unchanged, including the spaces between
    its words. The result may be empty.
    """
    cleaned = expression.strip()
    if not _has_line_end(cleaned) and SEPARATOR not in f" {cleaned} ":
        return cleaned
    return " ".join(word for word in cleaned.split() if word != "~")


def read_annotations(path: str | os.PathLike) -> list[Referent]:
    r"""Reads all referents of an annotation file, in order.

    Lines end with "\n" or "\r\n" and may be empty; each may begin with a byte order mark, which
    some editors write, and which is in the middle of a file that was put together from several.

    Raises:
        FileNotFoundError: there is no such file; the message says how to create it.
        DataError: a line is malformed or has more than `MAX_LINE_BYTES`, there is no line at all,
            or the file is not UTF-8 text.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such annotation file; "
            + how_to_get(path, "data/README.md says how to prepare or import a set")
        )
    referents = []
    for number, content in read_lines(path, DataError, MAX_LINE_BYTES):
        try:
            line = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: not UTF-8 text: {error.reason}") from None
        if line.strip():
            referents.append(parse_line(line, str(path), number))
    if not referents:
        raise DataError(f"{path}: contains no referent; write it again with data/data_process.py")
    return referents


def write_annotations(path: str | os.PathLike, referents: Iterable[Referent]) -> None:
    """Writes an annotation file in UTF-8, one line per referent, atomically.

    Raises:
        DataError: a line cannot represent a referent (see `format_line`).
    """
    write_text(path, "".join(format_line(referent) + "\n" for referent in referents))


def image_key(name: str) -> str:
    """What tells images apart across data sets: the 12 digits of COCO's names, else the whole name.

    COCO's 000000581857.jpg of 2017 is its COCO_train2014_000000581857.jpg of 2014.
    """
    coco_id = _COCO_NAME.fullmatch(name.rpartition("/")[2])
    return coco_id[1] if coco_id else name


def check_box_in_image(referent: Referent, width: int, height: int) -> None:
    """Checks that the center of a referent's box is on a pixel of its image.

    The center, floor((x1+x2)/2), floor((y1+y2)/2), selects the grid cell that predicts the object.
    A center on the right or bottom border or beyond has no cell.

    Raises:
        DataError: it is not; the message gives image, box and image size.
    """
    x1, y1, x2, y2 = referent.box_xyxy_px
    center_x, center_y = (x1 + x2) // 2, (y1 + y2) // 2
    if not (0 <= center_x < width and 0 <= center_y < height):
        raise DataError(
            f"{referent.image}: the center ({center_x}, {center_y}) of box {x1},{y1},{x2},{y2} "
            f"(mask-id {referent.mask_id}) lies outside the image of {width}×{height} pixels; "
            "correct the line or remove it"
        )


def _parse_numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != len(_FIELDS):
        raise DataError(f"expected 6 numbers {','.join(_FIELDS)}, found {shown(text)}")
    values = []
    for name, part in zip(_FIELDS, parts, strict=True):
        if not _WHOLE_NUMBER.fullmatch(part):
            raise DataError(f"{name} is not a whole number: {shown(part)}")
        if len(part.removeprefix("-")) > len(str(MAX_NUMBER)):
            raise DataError(f"{name} has too many digits: {shown(part)}")
        values.append(int(part))
    return tuple(values)


def _check(referent: Referent) -> None:
    x1, y1, x2, y2 = referent.box_xyxy_px
    numbers = (*referent.box_xyxy_px, referent.category, referent.mask_id)
    if not all(map(_is_small, numbers)):
        raise DataError("a number has too many digits")
    if x2 <= x1 or y2 <= y1:
        raise DataError(f"the box {x1},{y1},{x2},{y2} is empty: x1 < x2 and y1 < y2 are required")
    if x1 + x2 < 0 or y1 + y2 < 0:
        raise DataError(f"the center of box {x1},{y1},{x2},{y2} lies outside the image")
    if referent.category < 0 or referent.mask_id < 0:
        raise DataError(
            f"category {referent.category} and mask-id {referent.mask_id} must not be negative"
        )
    if not referent.expressions:
        raise DataError('no expression: at least one is required, after " ~ "')
    if not all(expression.strip() for expression in referent.expressions):
        raise DataError("an expression is empty")
    if not referent.image or referent.image.startswith("\ufeff"):
        raise DataError(f"the image name {shown(referent.image)} cannot be stored")
    for text in (referent.image, *referent.expressions):
        if _has_line_end(text) or "\0" in text or not _is_unicode(text):
            raise DataError(
                f"{shown(text)} contains a line end, NUL or half of a surrogate pair; remove it"
            )


def _is_small(number: int) -> bool:
    """Whether a number may be in a line. Python refuses to print those of thousands of digits."""
    return abs(number) <= MAX_NUMBER


def _has_line_end(text: str) -> bool:
    return "\n" in text or "\r" in text


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can encode a text, unlike the lone surrogates that JSON files may contain."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
