"""The jobs of predict.py: which expressions to locate in which photographs."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import UserError
from utils.prediction.expressions import check_not_empty
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
    check_not_empty(expressions)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such image or folder")
    if not path.is_dir():
        return [Job(path, expressions)]
    images = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
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
        UserError: a line has another form; the message names file and line.
    """
    path = Path(path)
    expressions: dict[Path, list[str]] = {}
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            image, texts = _parse(line, f"{path}:{number}")
            expressions.setdefault(path.parent / image, []).extend(texts)
    if not expressions:
        raise UserError(f"{path}: the file has no lines; expected lines like {EXAMPLE_LINE}")
    return [Job(image, tuple(texts)) for image, texts in expressions.items()]


def _parse(line, place):
    """(image, expressions) of a line; `place` is its file and number for messages."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not JSON: {error.msg} at column {error.colno}") from None
    expected = f"expected a line like {EXAMPLE_LINE}"
    if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not row["image"]:
        raise UserError(f'{place}: no "image"; {expected}')
    expressions = row.get("expressions", [row.get("expression")])
    if not isinstance(expressions, list) or not expressions:
        raise UserError(f'{place}: "expressions" is not a list of texts')
    for text in expressions:
        if not isinstance(text, str) or not text.split():
            raise UserError(f'{place}: no "expression"; {expected}')
    return row["image"], expressions
