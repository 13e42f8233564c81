"""One line of anns/<dataset>/<split>.txt and the referent it stands for.

A line is the image name, a blank, `x1,y1,x2,y2,category,mask-id`, then every expression behind
`" ~ "`:

    COCO_train2014_000000581857.jpg 103,93,260,424,0,1719 ~ the lady with the blue shirt ~ lady
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from config.files import written_atomically

SEPARATOR = " ~ "
_FIELDS = ("x1", "y1", "x2", "y2", "category", "mask-id")


@dataclass(frozen=True)
class Referent:
    """One object of one image and everything that was said to single it out.

    Attributes:
        image: name of the image file, relative to the image folder.
        box_xyxy_px: left, top, right, bottom in pixels of the original image.
        category: COCO category 0–79 (other numbers in data sets that are not COCO's).
        mask_id: the mask is the file `<mask_id>.npy` of the mask folder.
        expressions: at least one; words are separated by blanks.
    """

    image: str
    box_xyxy_px: tuple[int, int, int, int]
    category: int
    mask_id: int
    expressions: tuple[str, ...]


def parse_line(line: str, source: str = "<line>", line_number: int = 0) -> Referent:
    """Read one line.

    Args:
        line: the text, with or without its line end.
        source: file the line comes from, for error messages.
        line_number: counted from 1, for error messages.

    Raises:
        ValueError: the line is broken; the message names source, line number, fault and text.
    """
    text = line.strip()
    try:
        head, *expressions = text.split(SEPARATOR)
        image, separator, numbers = head.rpartition(" ")
        if not separator or not image.strip():
            raise ValueError("expected 'image x1,y1,x2,y2,category,mask-id ~ expression ~ …'")
        values = _parse_numbers(numbers)
        referent = Referent(
            image=image.strip(),
            box_xyxy_px=values[:4],
            category=values[4],
            mask_id=values[5],
            expressions=tuple(expression.strip() for expression in expressions),
        )
        _check(referent)
    except ValueError as error:
        shown = text if len(text) <= 200 else text[:200] + "…"
        raise ValueError(f"{source}:{line_number}: {error}; the line is {shown!r}") from None
    return referent


def format_line(referent: Referent) -> str:
    """Write one referent as a line, without a line end; `parse_line` gives it back.

    Raises:
        ValueError: something that a line cannot hold: a box without an area, no expression, an
            expression that is empty, spans lines or has a lone "~" among its words. Such an
            expression is refused and not repaired, so that what is stored is what was given;
            `clean_expression` repairs it where that is wanted.
    """
    try:
        _check(referent)
        for expression in referent.expressions:
            if clean_expression(expression) != expression:
                raise ValueError(
                    f"the expression {expression!r} cannot be stored: line ends, blanks around "
                    'it and a lone "~" have another meaning (clean_expression removes them)'
                )
        if referent.image != referent.image.strip() or SEPARATOR in referent.image + " ":
            raise ValueError(f"the image name {referent.image!r} cannot be stored")
        if len(referent.image.splitlines()) != 1:
            raise ValueError(f"the image name {referent.image!r} spans lines")
    except ValueError as error:
        raise ValueError(f"referent with mask-id {referent.mask_id}: {error}") from None
    numbers = ",".join(
        str(value) for value in (*referent.box_xyxy_px, referent.category, referent.mask_id)
    )
    return SEPARATOR.join([f"{referent.image} {numbers}", *referent.expressions])


def clean_expression(expression: str) -> str:
    """Make an expression storable: lone "~" and line ends go, blanks around it too.

    An expression that can be stored as it is comes back unchanged, blanks between its words
    included. May return "" if nothing is left.
    """
    cleaned = expression.strip()
    if len(cleaned.splitlines()) <= 1 and "~" not in cleaned.split():
        return cleaned
    return " ".join(word for word in cleaned.split() if word != "~")


def read_annotations(path: str | os.PathLike) -> list[Referent]:
    """Read a file of lines, in order; empty lines are allowed.

    Raises:
        FileNotFoundError: there is no such file; the message says what makes it.
        ValueError: a broken line (named by file and number), no line at all, or not UTF-8 text.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such annotation file; data/data_process.py writes it (see data/README.md)"
        )
    try:
        with path.open(encoding="utf-8") as file:
            referents = [
                parse_line(line, str(path), number)
                for number, line in enumerate(file, start=1)
                if line.strip()
            ]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from None
    if not referents:
        raise ValueError(f"{path}: holds no referent; write it again with data/data_process.py")
    return referents


def write_annotations(path: str | os.PathLike, referents: Iterable[Referent]) -> None:
    """Write referents one a line, UTF-8; folders are made, the file appears whole or not at all.

    Raises:
        ValueError: a referent that a line cannot hold (see `format_line`).
    """
    text = "".join(format_line(referent) + "\n" for referent in referents)
    with written_atomically(path) as file:
        file.write(text.encode("utf-8"))


def check_box_in_image(referent: Referent, width: int, height: int) -> None:
    """Refuse a box whose centre falls on no pixel of its image.

    The centre, floor((x1+x2)/2), floor((y1+y2)/2), chooses the grid cell that has to find the
    object; a centre on the right or bottom border or beyond has no cell.

    Raises:
        ValueError: names image, box and image size.
    """
    x1, y1, x2, y2 = referent.box_xyxy_px
    center_x, center_y = (x1 + x2) // 2, (y1 + y2) // 2
    if not (0 <= center_x < width and 0 <= center_y < height):
        raise ValueError(
            f"{referent.image}: the centre ({center_x}, {center_y}) of box {x1},{y1},{x2},{y2} "
            f"(mask-id {referent.mask_id}) lies outside the image of {width}×{height} pixels; "
            "correct the line or remove it"
        )


def _parse_numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected 6 numbers {','.join(_FIELDS)}, found {text!r}")
    values = []
    for name, part in zip(_FIELDS, parts, strict=True):
        try:
            values.append(int(part))
        except ValueError:
            raise ValueError(f"{name} is not a whole number: {part!r}") from None
    return tuple(values)


def _check(referent: Referent) -> None:
    x1, y1, x2, y2 = referent.box_xyxy_px
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"the box {x1},{y1},{x2},{y2} is empty: x1 < x2 and y1 < y2 are needed")
    if x1 + x2 < 0 or y1 + y2 < 0:
        raise ValueError(f"the centre of box {x1},{y1},{x2},{y2} lies outside the image")
    if referent.category < 0 or referent.mask_id < 0:
        raise ValueError(
            f"category {referent.category} and mask-id {referent.mask_id} must not be negative"
        )
    if not referent.expressions:
        raise ValueError('no expression: at least one is needed, behind " ~ "')
    if not all(expression.strip() for expression in referent.expressions):
        raise ValueError("an expression is empty")
