"""The jobs of predict.py: which expressions to locate in which photographs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.json_text import read_lines
from data.loading.errors import DataError
from data.preparation.json_fields import (
    EntryError,
    entry_at,
    expression_list,
    file_name,
    parse_json,
    single_expression,
)
from utils.prediction.expressions import check_expressions
from utils.prediction.photographs import SUFFIXES

EXAMPLE_LINE = '{"image": "a.jpg", "expression": "the dog"}'


@dataclass(frozen=True)
class Job:
    """A photograph and the expressions to locate in it."""

    image: Path
    expressions: tuple[str, ...]


def jobs_from_images(path: str | os.PathLike, expressions: Sequence[str]) -> list[Job]:
    """All expressions in one photograph, or in each photograph of a folder.

    Args:
        path: an image, or a folder of images, whose subfolders are not searched.
        expressions: the expressions.

    Raises:
        FileNotFoundError: no such image or folder.
        UserError: the folder holds no image, or an expression is empty.
    """
    path, expressions = Path(path), tuple(expressions)
    check_expressions(expressions)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such image or folder")
    if not path.is_dir():
        return [Job(path, expressions)]
    images = sorted(
        file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()
    )
    if not images:
        raise UserError(f"{path}: no image in this folder; supported are {', '.join(SUFFIXES)}")
    return [Job(image, expressions) for image in images]


def jobs_from_list(path: str | os.PathLike) -> list[Job]:
    """One job per image of a JSON-lines file, in the order in which the images first appear.

    Args:
        path: file with lines {"image": "a.jpg", "expression": "the dog"}, or with a list
            "expressions". Relative image paths start at the folder of the file.

    Raises:
        FileNotFoundError: no such file.
        UserError: a line has another form; the message names file, line and key.
    """
    path = Path(path)
    expressions: dict[Path, list[str]] = {}
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():  # Opening a pipe waits for a writer.
        raise UserError(f"{path}: not a file; expected a file with lines like {EXAMPLE_LINE}")
    for number, line in read_lines(path, DataError):
        place = f"{path}:{number}"
        row = parse_json(line, path, number)
        if not isinstance(row, dict):
            raise DataError(f"{place}: each line must be an object such as {EXAMPLE_LINE}")
        with entry_at(place):
            image = file_name("image", row.get("image"))
            expressions.setdefault(path.parent / image, []).extend(_expressions_of(row))
    if not expressions:
        raise UserError(f"{path}: the file has no lines; expected lines like {EXAMPLE_LINE}")
    return [Job(image, tuple(texts)) for image, texts in expressions.items()]


def _expressions_of(row: dict[str, Any]) -> tuple[str, ...]:
    if "expressions" not in row:
        return (single_expression("expression", row.get("expression")),)
    if "expression" in row:
        raise EntryError("'expression' must not be combined with 'expressions'")
    return expression_list("expressions", row["expressions"])
