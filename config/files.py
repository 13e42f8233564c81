"""Writing files so that they appear whole or not at all, where there is room for them."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_atomically(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes; a file of this name is replaced only once all is written.

    An interruption or an error leaves what was there before. Folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def free_bytes(folder: str | os.PathLike) -> int:
    """Room on the disk that a folder lies on, or will lie on once it is made."""
    folder = Path(folder).absolute()
    return shutil.disk_usage(next(f for f in (folder, *folder.parents) if f.exists())).free
