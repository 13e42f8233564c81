"""JSON files that end with the checksum of their own content, and lists of files by checksum."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import is_unchanged
from config.json_text import parse_json


def sealed(content: Mapping[str, Any], key: str) -> str:
    """The JSON text of an object, with the checksum of all that precedes it under `key`."""
    digest = hashlib.sha256(_json(content).encode()).hexdigest()
    return _json({**content, key: digest}) + "\n"


def is_sealed(path: str | os.PathLike, key: str) -> bool:
    """Whether a file is as `sealed` made it: a regular file, no link, and not changed since.

    Raises:
        OSError: the file cannot be read.
    """
    content = json_object(path)
    if content.pop(key, None) is None:
        return False
    return sealed(content, key).encode() == Path(path).read_bytes()


def is_listed(folder: Path, path: Path, checksums: Mapping[str, str]) -> bool:
    """Whether a file is one of a list and `config.files.is_unchanged`.

    Args:
        folder: the folder that the list belongs to.
        path: the file, relative to the folder.
        checksums: path relative to the folder, with "/" → 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = checksums.get(path.as_posix())
    return digest is not None and is_unchanged(folder / path, digest)


def json_object(path: str | os.PathLike) -> dict[str, Any]:
    """The JSON object in a regular file, sealed or not; empty if there is none.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        content = parse_json(path.read_bytes(), path)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)
