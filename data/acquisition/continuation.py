"""Whether a response continues the part of a file that exists already, or is of another file.

`<part>.json` beside the part notes which address its data came from, by what this address
identified the file, and the size of the complete file.
"""

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.acquisition.archives import Download


def note_path(part: Path) -> Path:
    """The file that describes a part."""
    return part.with_name(part.name + ".json")


def read_note(part: Path) -> dict[str, Any]:
    """The note of a part; empty if there is none, or a damaged one."""
    try:
        note = json.loads(note_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def new_note(url: str, response: http.client.HTTPResponse, total: int | None) -> dict[str, Any]:
    """The note of a part that is of the file of a response, of `total` bytes if that is known."""
    etag = response.headers.get("ETag")
    if not etag or etag.startswith("W/"):  # A weak one may be that of other bytes.
        etag = response.headers.get("Last-Modified")
    return {"url": url, "validator": etag, "total": total}


def validator_at(url: str, note: Mapping[str, Any]) -> str | None:
    """By what an address identified the file of a part; None if the part is of another address."""
    validator = note.get("validator") if note.get("url") == url else None
    is_header = isinstance(validator, str) and validator.isascii() and validator.isprintable()
    return validator if is_header and validator else None


def is_continued(note: Mapping[str, Any], new: Mapping[str, Any], download: Download) -> bool:
    """Whether a response that begins where a part ends is of the same file.

    If a checksum is known, it decides once the file is complete, whatever server it is from.

    Args:
        note, new: those of the part and of the response.
        download: the file.
    """
    if download.sha256 is not None:
        return True
    same_size = note.get("total") in (None, new["total"])
    return same_size and note.get("validator") == new["validator"]
