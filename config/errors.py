"""Errors whose messages are meant for people, and how these messages quote a value.

Command lines print them without a traceback.
"""

import errno
import json
import os
import reprlib
from typing import Any

MAX_SHOWN = 100


class UserError(ValueError):
    """Bad input, a missing file or an impossible request.

    The message is one sentence that names the file, line or key and the way out. Command lines
    print it without a traceback; any other exception is a bug and keeps its traceback.
    """


class ConfigError(UserError):
    """A setting cannot be used; the message names the key, its value and what is allowed."""


class NoSpaceError(UserError, OSError):
    """A disk is too full for a file; the message names the file and the sizes."""


class FolderError(UserError, OSError):
    """A folder cannot be created; the message names the file that is in the way."""


class Hdf5Error(UserError):
    """An HDF5 file cannot be used; the message says what is wrong, without the file's name."""


class RefusedHdf5Error(Hdf5Error):
    """The file contains something that neither weights nor training states contain."""


def message_of(error: Exception, path: str | os.PathLike | None = None) -> str:
    """The message of an error; for one of the system, the file and the reason.

    Args:
        error: the error.
        path: the file, because errors of reading and writing do not name it.
    """
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    name = error.filename if path is None else path
    if name is None:
        return error.strerror
    place = shortened(str(name)) if error.errno == errno.ENAMETOOLONG else str(name)
    return f"{place}: cannot be used ({error.strerror})"


def shown(value: Any) -> str:
    """Quotes a value in a message: JSON on one line, at most `MAX_SHOWN` characters of it.

    Only the beginning is formatted: a pickle of some bytes can contain a list of lists with more
    elements than fit into memory.
    """
    text = ""
    try:
        for part in json.JSONEncoder(ensure_ascii=False).iterencode(_beginning(value)):
            text += part
            if len(text) > MAX_SHOWN:
                break
    except (TypeError, ValueError, RecursionError):  # Pickles contain more types than JSON.
        try:
            text = reprlib.repr(value)
        except ValueError:  # A number of thousands of digits.
            text = "a number of thousands of digits"
    return shortened(text)


def shortened(text: str) -> str:
    """The beginning of a text, without characters that would control a terminal."""
    start = text[:MAX_SHOWN] + "…" * (len(text) > MAX_SHOWN)
    return printable(start)


def printable(text: str) -> str:
    """A text with escapes in place of characters that would control a terminal, also line ends."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _beginning(value: Any) -> Any:
    """The value itself, or the beginning of a string, which JSON would escape as a whole."""
    return value[: MAX_SHOWN + 1] if isinstance(value, str) else value
