"""The folder of the page: uploaded photographs and drawn answers, private and bounded."""

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import UserError
from config.files import locked, write_bytes

KEPT_SECONDS = 3600
MOST_FILES = 1000
MOST_BYTES = 500_000_000
PREFIX, LOCK = "mcn_page_", "page.lock"


class Uploads:
    """Finds and deletes files of one folder, and never touches anything outside it.

    Args:
        folder: private folder that only the page writes to.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder).resolve()
        self._kept: set[Path] = set()

    def find(self, path: object) -> Path | None:
        """Finds a file that a visitor names.

        The answer for a file outside the folder is the same whether it exists or not, and nothing
        is opened: opening a named pipe would wait for ever.

        Args:
            path: what the visitor sent, of any type.

        Returns:
            The absolute path if it is a regular file inside the folder, without symbolic links
            that lead out of it; otherwise None.
        """
        if not isinstance(path, str) or not os.path.isabs(path) or os.path.normpath(path) != path:
            return None
        if not Path(path).is_relative_to(self.folder):
            return None
        try:
            real = Path(path).resolve()
            regular = stat.S_ISREG(real.lstat().st_mode)
        except (OSError, ValueError, RuntimeError):  # Missing, too long, NUL, a loop of links.
            return None
        inside = real.is_relative_to(self.folder) and real.parent != self.folder
        return real if regular and inside else None

    def add(self, content: bytes, name: str) -> Path:
        """Writes a file to an unpredictable path.

        Raises:
            NoSpaceError, OSError: it cannot be written.
        """
        path = self.folder / secrets.token_hex(20) / name
        path.parent.mkdir(mode=0o700)
        write_bytes(path, content)
        return path

    def keep_present(self) -> None:
        """Keeps the files that are in the folder now, such as examples, until the page closes."""
        self._kept = {path for path, _ in self._files()}

    def make_room(self) -> set[str]:
        """Deletes files older than an hour, and the oldest ones if there are too many or too large.

        Afterwards at most `MOST_FILES` files of at most `MOST_BYTES` bytes are left, without the
        kept ones.

        Returns:
            Paths of the deleted files.
        """
        files = [(path, status) for path, status in self._files() if path not in self._kept]
        files.sort(key=lambda file: file[1].st_mtime)
        count, size = len(files), sum(status.st_size for _, status in files)
        deleted = set()
        for path, status in files:
            fresh = time.time() - status.st_mtime < KEPT_SECONDS
            if fresh and count <= MOST_FILES and size <= MOST_BYTES:
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                count, size = count - 1, size - status.st_size
                deleted.add(str(path))
                if path.parent != self.folder:
                    path.parent.rmdir()  # Fails, as it should, if other files are in it.
        return deleted

    def remove_partial(self) -> None:
        """Deletes what uploads that failed have left; none may be in progress.

        Complete files are in folders of their own.
        """
        for path, status in self._files():
            if path.parent == self.folder and stat.S_ISREG(status.st_mode):
                with contextlib.suppress(OSError):
                    os.truncate(path, 0)  # Gradio may still hold it open, which keeps its space.
                    path.unlink()

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder) / name
                with contextlib.suppress(FileNotFoundError):
                    if path != self.folder / LOCK:
                        yield path, path.lstat()


@contextmanager
def private_folder() -> Iterator[Path]:
    """Creates a folder that only this user can read, and deletes it when the block ends.

    Folders that killed pages of this user left behind are deleted first. They are recognized by
    their name and by their lock, which a running page holds.

    Raises:
        NoSpaceError, OSError: the folder for temporary files cannot be written.
    """
    for leftover in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _delete_if_unused(leftover)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # Mode 0700.
    with locked(folder / LOCK, f"{folder}: another page starts at this moment; start this again"):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _delete_if_unused(folder):
    lock = folder / LOCK
    try:
        status = folder.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if ours and stat.S_ISREG(lock.lstat().st_mode):
            with locked(lock, "in use"):
                shutil.rmtree(folder, ignore_errors=True)
    except (OSError, UserError):
        pass  # Not ours, already deleted, or in use.
