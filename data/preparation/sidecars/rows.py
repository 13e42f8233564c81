"""JSON-lines files with one object per `ref_id`, which both kinds of files beside lines are."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from config.files import write_text
from config.json_text import check_regular, read_lines
from data.loading.errors import DataError
from data.preparation.json_fields import EntryError, entry_at, parse_json


class _Row(Protocol):
    @property
    def ref_id(self) -> int: ...


Row = TypeVar("Row", bound=_Row)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one line per object.

    Raises:
        NoSpaceError: the disk is full.
    """
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path, row_of: Callable[[Mapping[str, Any]], Row]) -> dict[int, Row] | None:
    """Reads a file of `write_rows`.

    Args:
        path: the file.
        row_of: checks and converts the object of a line; raises `EntryError`. Gets an empty one for
            a line that is no object.

    Returns:
        `ref_id` → row, in the order of the file; None if there is no such file.

    Raises:
        DataError: a line cannot be used; the message names it.
    """
    check_regular(path, DataError)
    if not path.is_file():
        return None
    found: dict[int, Row] = {}
    for number, line in read_lines(path, DataError):
        with entry_at(f"{path}:{number}"):
            content = parse_json(line, path, number)
            row = row_of(content if isinstance(content, dict) else {})
            if found.setdefault(row.ref_id, row) is not row:
                raise EntryError(f"'ref_id' {row.ref_id} is also that of an earlier line")
    return found
