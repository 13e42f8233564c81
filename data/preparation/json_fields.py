"""Parsing of JSON and checks of the fields of its objects.

Each check returns the value of one field or raises an `EntryError` that begins with the key.
`entry_at` adds the file and the place in it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config import json_text
from config.errors import UserError, shown
from data.loading.errors import DataError

# Beyond this, whole numbers cannot be represented exactly as float64.
MAX_NUMBER = 2**53
MAX_FILE_NAME = 1_000
MAX_NAME_BYTES = 255  # Of a file or folder, on all common file systems.
_DIGITS = re.compile("[0-9]{1,15}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class EntryError(UserError):
    """A field of an object cannot be used; the message begins with its key."""


@contextmanager
def entry_at(place: str) -> Iterator[None]:
    """Converts an `EntryError` raised inside to a `DataError` that also names the place."""
    try:
        yield
    except EntryError as error:
        raise DataError(f"{place}: key {error}") from None


def parse_json(content: bytes, path: str | os.PathLike, first_line: int = 1) -> Any:
    """Parses a JSON document of a data set; arguments as in `config.json_text.parse_json`.

    Raises:
        DataError: it is not valid or cannot be used; the message names file and line.
    """
    return json_text.parse_json(content, path, first_line, DataError)


def refusal(key: str, value: Any, expected: str) -> EntryError:
    """Makes the error for a value that is not as expected; None means that the key is missing."""
    given = "is missing" if value is None else f"is {shown(value)}"
    return EntryError(f"'{key}' {given}, but must be {expected}")


def file_name(key: str, value: Any) -> str:
    """Checks the name of a file, which messages then can show as it is.

    Raises:
        EntryError: it is not a string, is blank, is longer than `MAX_FILE_NAME`, has a part longer
            than `MAX_NAME_BYTES`, or contains characters that control a terminal.
    """
    if not isinstance(value, str) or not value.strip():
        raise refusal(key, value, "a file name")
    name = value.strip()
    longest = max(len(part.encode("utf-8", "replace")) for part in name.split("/"))
    if len(name) > MAX_FILE_NAME or longest > MAX_NAME_BYTES or _CONTROL.search(name):
        form = f"a file name of at most {MAX_NAME_BYTES} bytes without control characters"
        raise refusal(key, value, form)
    return name


def single_expression(key: str, value: Any) -> str:
    """Checks one expression.

    Raises:
        EntryError: it is not a string or is blank.
    """
    if not isinstance(value, str) or not value.strip():
        raise refusal(key, value, 'an expression such as "red kite"')
    return value


def expression_list(key: str, value: Any) -> tuple[str, ...]:
    """Checks a list of expressions.

    Raises:
        EntryError: it is not a list of strings, is empty, or a string is blank.
    """
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(text, str) and text.strip() for text in value)
    ):
        raise refusal(key, value, 'a list of expressions such as ["red kite"]')
    return tuple(value)


def four_numbers(key: str, value: Any, form: str) -> tuple[float, float, float, float]:
    """Checks a list of four finite numbers.

    Args:
        key: the key.
        value: its value.
        form: what they are, such as "[x, y, width, height]".

    Raises:
        EntryError: it is anything else.
    """
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(type(v) in (int, float) and abs(v) <= MAX_NUMBER for v in value)
    ):
        raise refusal(key, value, f"four numbers {form}")
    a, b, c, d = value
    return a, b, c, d


def whole_number(key: str, value: Any, minimum: int = 0) -> int:
    """Checks a whole number, which may be written with a decimal point, as 640.0.

    Raises:
        EntryError: it is anything else or below the minimum.
    """
    if type(value) not in (int, float) or not minimum <= value <= MAX_NUMBER or int(value) != value:
        raise refusal(key, value, f"a whole number, {minimum} or more")
    return int(value)


def expression_id(key: str, value: Any) -> int:
    """Checks the id of an expression: a whole number, which may be text, as "000017".

    Raises:
        EntryError: it is anything else or negative.
    """
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return whole_number(key, value)
