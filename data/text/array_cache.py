"""Arrays on disk that save recomputation; identified by a key, rebuilt if damaged."""

import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from config.files import written_atomically

T = TypeVar("T")
_log = logging.getLogger(__name__)


def read_cached(path: Path, key: str, parse: Callable[[Mapping[str, np.ndarray]], T]) -> T | None:
    """Reads arrays that `write_cached` wrote.

    Args:
        path: the .npz file.
        key: identifies the input that the arrays were computed from.
        parse: converts the arrays, by name, to the result; raises ValueError if they are not
            as expected.

    Returns:
        The result, or None if there is no file, or if it is damaged or has another key; this is
        logged.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entries:
            _check_expansion(entries.zip, path)
            if array_text(entries["key"]) != key:
                raise ValueError("it was computed from other input")
            arrays = {name: entries[name] for name in entries.files}
    except Exception as error:  # NumPy's readers document no list of what a damaged file raises.
        _report_unusable(path, error)
        return None
    try:
        return parse(arrays)
    except (KeyError, ValueError) as error:
        _report_unusable(path, error)
        return None


def _check_expansion(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises a ValueError if the arrays are larger than the file, as `write_cached` never does."""
    size = sum(member.file_size for member in archive.infolist())
    if size > path.stat().st_size:
        raise ValueError(f"it expands to {size:,} bytes")


def _report_unusable(path: Path, error: Exception) -> None:
    _log.warning("%s: cannot be reused and is computed again (%s)", path, error)


def write_cached(path: Path, key: str, **arrays: np.ndarray) -> None:
    """Writes arrays to a .npz file, atomically; failure to do so, as on a full disk, is logged."""
    try:
        with written_atomically(path) as file:
            entries: dict[str, Any] = {**arrays, "key": text_array(key)}
            np.savez(file, **entries)
    except OSError as error:  # For example, a read-only folder.
        _log.warning("%s: cannot be kept for the next run (%s)", path, error)


def text_array(text: str) -> np.ndarray:
    """A text as an array of bytes, uint8 (N,)."""
    return np.frombuffer(text.encode(), np.uint8)


def array_text(array: np.ndarray) -> str:
    """The text of a `text_array`."""
    return array.tobytes().decode()
