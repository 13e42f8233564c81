"""JSON files that end with the checksum of their own content, so that a change of them shows."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.errors import UserError
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
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        return False
    text = path.read_bytes()
    try:
        content = parse_json(text, path)
    except UserError:
        return False
    if not isinstance(content, dict) or content.pop(key, None) is None:
        return False
    return sealed(content, key).encode() == text


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)
