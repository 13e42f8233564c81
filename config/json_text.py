"""The one parser of JSON that people or other programs wrote: settings, tables, JSON lines.

It is stricter than `json.loads`: whatever it returns can be written to a file again, and no key is
dropped silently.
"""

import codecs
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from config.errors import ConfigError, UserError, message_of, shown

# Longer lines come from files that are no JSON lines; a line is read into memory as a whole.
MAX_LINE_BYTES = 64_000_000
MAX_SETTINGS_BYTES = 1_000_000  # Of a config.
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32 begins with one of them or NUL.
_SUSPECT_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


def check_regular(path: str | os.PathLike, error: type[UserError] = ConfigError) -> None:
    """Checks that a file can be read to its end: opening a pipe waits for a writer.

    Raises:
        error: it is a pipe, device or socket. A file that is missing or a folder is no error here,
            but when it is opened.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise error(f"{path}: a pipe or device, which is not read; name a file")


def read_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file of settings, without checking the settings.

    Raises:
        ConfigError: the file cannot be read, or is no JSON object.
    """
    if not os.fspath(path):
        raise ConfigError("the name of the config is empty; name a file such as config/config.json")
    try:
        check_regular(path)
        with Path(path).open("rb") as file:
            content = file.read(MAX_SETTINGS_BYTES + 1)
    except FileNotFoundError:
        shipped = ", ".join(sorted(p.name for p in Path(__file__).parent.glob("*.json")))
        raise ConfigError(f"{path}: no such file; shipped in config/: {shipped}") from None
    except OSError as error:
        raise ConfigError(f"{message_of(error, path)}; name a JSON file of settings") from None
    if len(content) > MAX_SETTINGS_BYTES:
        raise ConfigError(
            f"{path}: has more than {MAX_SETTINGS_BYTES:,} bytes; is this a file of settings?"
        )
    values = parse_json(content, path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, must be a JSON object")
    return values


def parse_json(
    content: bytes,
    source: str | os.PathLike,
    first_line: int = 1,
    error: type[UserError] = ConfigError,
) -> Any:
    """Parses a JSON document in UTF-8, with or without a byte order mark.

    Args:
        content: the document.
        source: file it comes from, for error messages.
        first_line: line of the file where it begins, counted from 1, for error messages.
        error: class of the exceptions to raise.

    Returns:
        Objects as dict, lists, strings that UTF-8 can encode and that contain no NUL, numbers,
        booleans and None. Numbers beyond the range of float64, such as 1e999, are infinite.

    Raises:
        error: it is not valid JSON, a key occurs twice in an object, or a string contains NUL or
            half of a surrogate pair; the message names file and line.
    """
    place = f"{source}:{first_line}"
    if _is_utf16(content):
        raise error(f"{source}: this is UTF-16 or UTF-32 text; save the file as UTF-8")
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
        )
        if b"\\u" in content and _SUSPECT_ESCAPE.search(content):
            _check_texts(value)
        return value
    except UnicodeDecodeError as fault:
        line = first_line + content.count(b"\n", 0, fault.start)
        raise error(f"{source}:{line}: not UTF-8 text; save the file as UTF-8") from None
    except json.JSONDecodeError as fault:
        line = first_line + fault.lineno - 1
        message = f"not valid JSON: {fault.msg} at column {fault.colno}"
        raise error(f"{source}:{line}: {message}") from None
    except _ContentError as fault:
        raise error(f"{place}: {fault}") from None
    except RecursionError:
        raise error(f"{place}: this JSON cannot be read: nested too deeply") from None
    except ValueError:  # Python converts no longer numbers, because that takes quadratic time.
        raise error(
            f"{place}: this JSON cannot be read: a number has thousands of digits"
        ) from None


def read_lines(
    path: str | os.PathLike,
    error: type[UserError] = ConfigError,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[tuple[int, bytes]]:
    r"""Reads the lines of a file that are not blank, one at a time.

    Only "\n" ends a line; other line ends of Unicode may occur in texts.

    Args:
        path: the file.
        error: class of the exceptions to raise.
        max_line_bytes: what is too long for one entry; longer lines are never in memory as a whole.

    Yields:
        The number of the line, counted from 1, and its content, such as for `parse_json`.

    Raises:
        OSError: the file cannot be read.
        error: it is a pipe, device or UTF-16 text, or a line is too long for one entry.
    """
    check_regular(path, error)
    with Path(path).open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(max_line_bytes + 1), b""), 1):
            if number == 1 and _is_utf16(line):
                raise error(f"{path}: this is UTF-16 or UTF-32 text; save the file as UTF-8")
            if len(line) > max_line_bytes:
                raise error(
                    f"{path}:{number}: the line has more than {max_line_bytes:,} bytes; write one "
                    "entry per line"
                )
            if line.strip():
                yield number, line


class _ContentError(Exception):
    """Valid JSON that cannot be used, without the place in the file, which hooks do not know."""


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _ContentError(f"key {shown(twice)} occurs twice in an object; remove one")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _ContentError(f"{name} is not a number of JSON; remove it or write a finite number")


def _check_texts(value: Any) -> None:
    """Raises `_ContentError` if a string, at any depth, can be no file name and in no text file."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, str):
            if "\0" in item:
                raise _ContentError(f"the text {shown(item)} contains the character NUL; remove it")
            if any("\ud800" <= character <= "\udfff" for character in item):
                raise _ContentError(
                    f"the text {shown(item)} contains half of a surrogate pair, which is no "
                    "character; remove it"
                )


def _is_utf16(content: bytes) -> bool:
    """Whether a document is UTF-16 or UTF-32, with or without a byte order mark."""
    return content.startswith(_WIDE_MARKS) or b"\0" in content[:2]
