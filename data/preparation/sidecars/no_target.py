"""Expressions that refer to no object of their image: `no_target.jsonl` beside annotation lines.

A line describes a referent, so these have none. One line per entry of the data set:

    {"ref_id": 90, "splits": ["val"], "image": "a.jpg", "expressions": ["the horse"]}
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.preparation.json_fields import expression_list, file_name, refusal, whole_number
from data.preparation.sidecars.rows import read_rows, write_rows

FILE_NAME = "no_target.jsonl"


@dataclass(frozen=True)
class NoTarget:
    """Expressions that refer to no object of an image.

    Attributes:
        ref_id: id in the data set, which no referent has.
        splits: the splits that they belong to.
        image: name of the image file.
        expressions: at least one.
    """

    ref_id: int
    splits: tuple[str, ...]
    image: str
    expressions: tuple[str, ...]


def write_no_target(folder: Path, entries: Iterable[NoTarget]) -> None:
    """Writes the file beside the lines of a prepared set.

    Raises:
        NoSpaceError: the disk is full.
    """
    write_rows(folder / FILE_NAME, map(asdict, entries))


def read_no_target(annotation_file: str | os.PathLike) -> Sequence[NoTarget] | None:
    """Reads the expressions without a target of the split of an annotation file.

    Returns:
        The entries in the order of the file; None if there is no such file beside the lines, as in
        all sets in which every expression has a referent.

    Raises:
        DataError: a line cannot be used; the message names it.
    """
    path = Path(annotation_file)
    found = read_rows(path.with_name(FILE_NAME), _entry_of)
    if found is None:
        return None
    return [entry for entry in found.values() if path.stem in entry.splits]


def _entry_of(row: Mapping[str, Any]) -> NoTarget:
    splits = row.get("splits")
    if not isinstance(splits, list) or not all(isinstance(one, str) for one in splits):
        raise refusal("splits", splits, 'a list of names such as ["val"]')
    return NoTarget(
        whole_number("ref_id", row.get("ref_id")),
        tuple(splits),
        file_name("image", row.get("image")),
        expression_list("expressions", row.get("expressions")),
    )
