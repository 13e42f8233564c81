"""Atomic file writes, locks, checksums and checks of free disk space."""

import errno
import fcntl
import hashlib
import itertools
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from config.errors import FolderError, NoSpaceError, UserError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# How file systems without hard links, such as those of memory cards, refuse one.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# File systems allow 255 bytes per name; a character of UTF-8 has at most four.
KEPT_OF_NAME = 50
HASHED_BYTES = 1 << 20  # At a time.


@contextmanager
def written_atomically(
    path: str | os.PathLike,
    *,
    durable: bool = False,
    needed_bytes: int | None = None,
    replace: bool = True,
) -> Iterator[BinaryIO]:
    """Opens a file for writing that gets its name, `path`, only once it is complete.

    If the block raises or is interrupted, an existing file stays unchanged and no partial file is
    left behind. Missing parent folders are created.

    Args:
        path: the file to write or replace.
        durable: flush the file to disk first, so that not even a crash of the machine leaves an
            empty file in place of the old one. Too slow for thousands of small files.
        needed_bytes: size of the file, for the error message, if it is known.
        replace: whether the file replaces what has its name by then.

    Yields:
        A binary file object that can be read, written and positioned.

    Raises:
        FileExistsError: something has the name, and `replace` is not set.
        NoSpaceError: the disk is full.
        FolderError: the path leads through a file.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name[:KEPT_OF_NAME]}.{uuid.uuid4().hex}.tmp")
    with no_space_named(path, needed_bytes):  # Outermost: what is free without the partial file.
        try:
            with temporary.open("x+b") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                _rename_to_free(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename == str(temporary):
                error.filename = str(path)
            raise
    if durable:
        _flush_folder(path.parent)


def _rename_to_free(file: Path, path: Path) -> None:
    """Renames a file; raises FileExistsError if something has the name."""
    try:
        os.link(file, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        path.open("xb").close()  # Empty for a moment only.
        file.replace(path)
    else:
        file.unlink()


def remove_partial_files(path: str | os.PathLike) -> None:
    """Deletes what killed processes left of `written_atomically(path)`.

    Call it only while no other process can be writing the file.
    """
    path = Path(path)
    name = re.compile(rf"\.{re.escape(path.name[:KEPT_OF_NAME])}\.[0-9a-f]{{32}}\.tmp")
    for file in path.parent.iterdir() if path.parent.is_dir() else ():
        if name.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flushes the entries of a folder to disk: a rename is durable only then."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # Some network file systems cannot flush folders.
    finally:
        os.close(descriptor)


@contextmanager
def no_space_named(path: str | os.PathLike, needed_bytes: int | None = None) -> Iterator[None]:
    """Turns the error of a full disk inside the block into a sentence that names the file.

    Args:
        path: the file that is written inside.
        needed_bytes: its size, if it is known.

    Raises:
        NoSpaceError: the disk, or the user's quota on it, is full.
    """
    try:
        yield
    except NoSpaceError:
        raise
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        if _lacks_inodes(Path(path).parent, needed_bytes or 0):
            raise NoSpaceError(
                f"{path}: the disk has no room for more files, although "
                f"{bytes_text(free_bytes(Path(path).parent))} are free; delete or move files that "
                "you do not need and run the same command again"
            ) from None
        need = "" if needed_bytes is None else f"needs {bytes_text(needed_bytes)}, and "
        raise NoSpaceError(
            f"{path}: {need}the disk is full ({bytes_text(free_bytes(Path(path).parent))} free); "
            "free some space and run the same command again"
        ) from None


def write_bytes(
    path: str | os.PathLike,
    content: bytes | memoryview,
    *,
    durable: bool = False,
    replace: bool = True,
) -> None:
    """Writes a file atomically, see `written_atomically`.

    Raises:
        FileExistsError: something has the name, and `replace` is not set.
        NoSpaceError: the disk has no room; the message names the file and its size.
    """
    size = memoryview(content).nbytes
    with written_atomically(path, durable=durable, needed_bytes=size, replace=replace) as file:
        file.write(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def locked(path: str | os.PathLike, message: str, *, wait: bool = False) -> Iterator[None]:
    """Holds an exclusive lock during the block, so that two processes never write at once.

    The system releases the lock when the process ends, however it ends. The empty file stays,
    because deleting it would let a third process lock another file of the same name. File systems
    without locks are used without one.

    Args:
        path: the lock file; created with its folder if it does not exist.
        message: what to say if another process holds the lock.
        wait: print the message and wait for the lock, instead of raising an error.

    Raises:
        UserError: another process holds the lock, and `wait` is not set; or a link or anything but
            a file is in its place.
        FolderError: the path leads through a file.
    """
    path = Path(path)
    make_folder(path.parent)
    check_place(path)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise UserError(message) from None
            print(message, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
        yield


def file_sha256(path: str | os.PathLike, on_read: Callable[[int], object] | None = None) -> str:
    """Computes the SHA-256 of a file of any size.

    Args:
        path: the file.
        on_read: called after each piece with the number of bytes read so far.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest, done = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(HASHED_BYTES):
            digest.update(piece)
            done += len(piece)
            if on_read is not None:
                on_read(done)
    return digest.hexdigest()


def first_free(paths: Iterable[Path]) -> Path:
    """The first of some paths that is not taken, be it by a dangling link.

    A file that is renamed to it replaces nothing.
    """
    return next(path for path in paths if not os.path.lexists(path))


def is_unchanged(path: str | os.PathLike, sha256: str) -> bool:
    """Whether a file is still the one that was written: a regular file, no link, of this checksum.

    Args:
        path: the file, which need not exist.
        sha256: 64 hexadecimal digits, as `file_sha256` returns them.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    return path.is_file() and not path.is_symlink() and file_sha256(path) == sha256


def make_folder(folder: Path) -> None:
    """Creates a folder and its missing parents.

    Raises:
        FolderError: it is a file, or its path leads through one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _no_folder(_existing(folder), folder) from None


def check_folder(folder: str | os.PathLike) -> None:
    """Checks that files can be written to a folder, without creating it.

    Raises:
        FolderError: it is a file, its path leads through one, or nothing can be written there.
    """
    folder = Path(folder).absolute()
    existing = _existing(folder)
    if not existing.is_dir():
        raise _no_folder(existing, folder)
    try:
        with tempfile.TemporaryFile(dir=existing):  # The system may refuse what permissions allow.
            pass
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise FolderError(
                f"{existing}: files cannot be created there ({error.strerror}); choose another "
                "folder"
            ) from None


def check_place(path: str | os.PathLike) -> None:
    """Checks that nothing but a file is where a file will be written.

    Raises:
        UserError: it is a folder, a link, whose target would be written, or no regular file.
    """
    path = Path(path)
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no regular file"
        raise UserError(
            f"{path} is {kind}, in the place of a file that would be written: move it away and run "
            "the same command again"
        )


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest part of its path that exists."""
    return next(path for path in (folder, *folder.parents) if os.path.lexists(path))


def _no_folder(file: Path, folder: Path) -> FolderError:
    inside = "" if file == folder else f", so {folder} cannot be created"
    return FolderError(f"{file} is not a folder{inside}; choose another folder")


def free_bytes(folder: str | os.PathLike) -> int:
    """Free bytes on the disk that holds `folder`, which need not exist yet."""
    folder = Path(folder).absolute()
    return shutil.disk_usage(next(f for f in (folder, *folder.parents) if f.exists())).free


def numbered(path: Path, separator: str = ".", suffix: str = "") -> Iterator[Path]:
    """The path itself, and then `<name>.2`, `<name>.3` and so on beside it, before its suffix."""
    yield path
    if path.name in ("", ".."):  # Such as ".", whose name its path does not contain.
        path = path.resolve()
    stem = path.name.removesuffix(suffix)
    for number in itertools.count(2):
        yield path.parent / f"{stem}{separator}{number}{suffix}"


def _lacks_inodes(folder: Path, needed_bytes: int) -> bool:
    """Whether a disk has room for so many bytes, but not for another file.

    Some file systems have no fixed number of files and report 0 of 0.
    """
    disk = os.statvfs(_existing(folder.absolute()))
    return disk.f_files > 0 == disk.f_favail and disk.f_bavail * disk.f_frsize > needed_bytes


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
