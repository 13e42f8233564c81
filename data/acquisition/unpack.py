"""Unpacking zip and tar archives of strangers: nothing is written outside the target folder."""

import contextlib
import fnmatch
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from config.files import free_bytes, written_atomically
from data.support.progress import Progress, bytes_text


class UnpackError(ValueError):
    """An archive that is damaged, unsafe or not what it should be; nothing outside was touched."""


@dataclass(frozen=True)
class _Member:
    """One entry of an archive; `kind` is "file", "folder" or what else it is, in words."""

    name: str
    size: int
    kind: str
    open: Callable[[], BinaryIO]


def unpack(
    path: Path, folder: Path, patterns: tuple[str, ...], flat: bool = False
) -> dict[str, int]:
    """Writes the wanted files of a zip or tar archive into a folder.

    Each file appears whole or not at all, and one that is there with the right size is left
    alone, so an interrupted unpacking goes on.

    Args:
        path: archive; tar may be compressed.
        folder: target, made if missing.
        patterns: names of the members wanted, "*" standing for any characters.
        flat: leave out the folders of the archive.

    Returns:
        name below `folder` → bytes, of all wanted files.

    Raises:
        UnpackError: a member that leads outside the folder or is no plain file or folder, two
            members for one file, a pattern without a member, a damaged archive, too little room,
            or another file in the way.
    """
    path, folder = Path(path), Path(folder)
    try:
        with _opened(path) as members:
            for member in members:
                _check(path, member)
            wanted = _wanted(path, members, patterns, flat)
            missing = {name: m for name, m in wanted.items() if not _is_there(folder, name, m)}
            _check_space(path, folder, sum(member.size for member in missing.values()))
            with Progress(len(missing), f"{path.name}: unpack") as bar:
                for done, (name, member) in enumerate(missing.items(), start=1):
                    _write(path, folder / name, member)
                    bar.update(done)
    # RuntimeError: a zip with a password or an unknown compression.
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise UnpackError(
            f"{path}: damaged or not readable ({error}); delete it and fetch it again"
        ) from None
    return {name: member.size for name, member in wanted.items()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield [_zip_member(archive, info) for info in archive.infolist()]
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            yield [_tar_member(archive, info) for info in archive.getmembers()]
    else:
        raise UnpackError(f"{path}: neither a zip nor a tar archive, or cut off; fetch it again")


def _zip_member(archive, info):
    mode = info.external_attr >> 16
    kind = "folder" if info.is_dir() else "file"
    if stat.S_ISLNK(mode):
        kind = "a link"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a special file"
    return _Member(info.filename, info.file_size, kind, lambda: archive.open(info))


def _tar_member(archive, info):
    kind = "file" if info.isreg() else "folder" if info.isdir() else "a special file"
    if info.issym() or info.islnk():
        kind = "a link"
    return _Member(info.name, info.size, kind, lambda: archive.extractfile(info))


def _check(path, member):
    # Read as Windows reads it, a name shows drives and both sorts of slashes on every system.
    name = PureWindowsPath(member.name)
    nameless = not name.parts and member.kind != "folder"
    if nameless or name.drive or name.root or ".." in name.parts:
        raise UnpackError(
            f"{path}: refused: its member {member.name!r} would be written outside the target "
            "folder; the archive is not what it should be"
        )
    if member.kind not in ("file", "folder"):
        raise UnpackError(
            f"{path}: refused: its member {member.name!r} is {member.kind}, and only plain files "
            "are expected; the archive is not what it should be"
        )


def _wanted(path, members, patterns, flat):
    """Name below the target → member."""
    wanted = {}
    for member in members:
        name = PurePosixPath(member.name)
        # macOS puts a shadow beside every file that it packs.
        if member.kind != "file" or name.name.startswith("._") or name.parts[0] == "__MACOSX":
            continue
        if not any(fnmatch.fnmatchcase(str(name), pattern) for pattern in patterns):
            continue
        target = name.name if flat else str(name)
        if target in wanted:
            raise UnpackError(
                f"{path}: two members for the file {target}: {wanted[target].name!r}"
                f" and {member.name!r}"
            )
        wanted[target] = member
    if not wanted:
        raise UnpackError(
            f"{path}: no member fits {', '.join(patterns)}; it holds "
            + (", ".join(member.name for member in members[:5]) or "nothing")
        )
    return wanted


def _is_there(folder, name, member):
    target = folder / name
    if not target.exists():
        return False
    if target.is_file() and target.stat().st_size == member.size:
        return True
    raise UnpackError(
        f"{target} is there already and is not the file of the archive ({member.size:,} bytes): "
        "move it away and run the same command again"
    )


def _check_space(path, folder, needed):
    free = free_bytes(folder)
    if needed > free:
        raise UnpackError(
            f"{path}: unpacked it takes {bytes_text(needed)} and {folder} has {bytes_text(free)} "
            "free: make room and run the same command again"
        )


def _write(path, target, member):
    with member.open() as source, written_atomically(target) as file:
        shutil.copyfileobj(source, file, 1 << 20)
        if file.tell() != member.size:
            raise UnpackError(
                f"{path}: {member.name!r} has {file.tell():,} bytes in place of {member.size:,}; "
                "the archive is damaged, delete it and fetch it again"
            )
