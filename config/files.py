"""Atomic file writes and checks of free disk space."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from config.errors import NoSpaceError


@contextmanager
def written_atomically(path: str | os.PathLike, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Opens a file for writing that replaces `path` only once it is complete.

    If the block raises or is interrupted, an existing file stays unchanged and no partial file is
    left behind. Missing parent folders are created.

    Args:
        path: the file to write or replace.
        durable: flush the file to disk first, so that not even a crash of the machine leaves an
            empty file in place of the old one. Too slow for thousands of small files.

    Yields:
        A binary file object that can be read, written and positioned, as h5py requires.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("x+b") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in UTF-8, atomically."""
    with written_atomically(path) as file:
        file.write(text.encode("utf-8"))


def free_bytes(folder: str | os.PathLike) -> int:
    """Free bytes on the disk that holds `folder`, which need not exist yet."""
    folder = Path(folder).absolute()
    return shutil.disk_usage(next(f for f in (folder, *folder.parents) if f.exists())).free


def check_free_space(folder: str | os.PathLike, needed_bytes: int, what: str, remedy: str) -> None:
    """Checks that the disk of a folder has room for a file before it is written.

    Args:
        folder: where the file will be written; need not exist yet.
        needed_bytes: size of the file.
        what: what needs the space, the subject of the error message.
        remedy: what the user can do about it, the end of the error message.

    Raises:
        NoSpaceError: fewer than `needed_bytes` are free.
    """
    free = free_bytes(folder)
    if free < needed_bytes:
        raise NoSpaceError(
            f"{what} needs {bytes_text(needed_bytes)} and {folder} has {bytes_text(free)} free: "
            f"{remedy}"
        )


def bytes_text(count: float) -> str:
    """Formats a number of bytes for people: "13.5 GB"."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.1f} {prefix}B"
    return f"{count:.0f} bytes"
