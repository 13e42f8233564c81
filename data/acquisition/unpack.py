"""Extraction of zip archives from untrusted sources: nothing is written outside the target."""

import errno
import fnmatch
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from config.errors import UserError, shown
from config.files import bytes_text, check_free_space, remove_partial_files, written_atomically
from data.support.progress import Progress

# What reading a damaged zip archive raises, besides the OSError of `_is_seek_before_start`.
# RuntimeError: it is encrypted or compressed by an unknown method; UnicodeDecodeError: a file name
# is damaged.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError)
# Reading a member of any other method expands a whole chunk of it in memory at once.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_NAME_BYTES = 255  # Of a file or folder, in all common file systems.
MAX_PATH_BYTES = 1000  # Systems allow 1,024 or 4,096, with the target folder.
# The text of our archives is compressed to a tenth at best, photographs hardly at all.
MAX_EXPANSION = 100


class UnpackError(UserError):
    """An archive is damaged, unsafe or not the expected one, or an existing file is in the way."""


def unpack(
    path: Path, folder: Path, patterns: tuple[str, ...], flat: bool = False, n_files: int = 1
) -> dict[str, int]:
    """Extracts the wanted files of a zip archive into a folder.

    Files are written atomically. Files that exist with the right content are skipped, so an
    interrupted extraction resumes. Only one process at a time may extract an archive to a folder.

    Args:
        path: the archive.
        folder: target; created if missing.
        patterns: names of the wanted members; "*" matches any characters, "/" included.
        flat: whether to write all files into `folder` itself, without the archive's folders.
        n_files: number of wanted members that the archive must have at least.

    Returns:
        Path relative to `folder` → size in bytes, for all wanted files.

    Raises:
        UnpackError: a member leads outside the folder or is neither a file nor a folder, two
            members have the same target, fewer than `n_files` match, its files would be
            implausibly large, the archive is damaged, or another file is in the way. Nothing is
            written before all members are checked.
        NoSpaceError: the extracted files would not fit on the disk.
    """
    path, folder = Path(path), Path(folder)
    if not zipfile.is_zipfile(path):
        raise UnpackError(f"{path}: not a zip archive, or truncated; download it again")
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_safe(path, member)
            wanted = _wanted(path, archive.infolist(), patterns, flat)
            _check_plausible(path, wanted, n_files)
            missing = _missing(path, folder, wanted)
            _check_folders(folder, missing)
            needed = sum(member.file_size for member in missing.values())
            remedy = "free some space and run the same command again"
            check_free_space(folder, needed, f"{path}, extracted,", remedy)
            for name in list(missing)[:1]:  # The file that a killed run was writing.
                remove_partial_files(folder / name)
            with Progress(len(missing), f"{path.name}: extract", "files") as progress:
                for done, (name, member) in enumerate(missing.items(), start=1):
                    _extract(archive, member, folder / name)
                    progress.update(done)
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and not _is_seek_before_start(error):
            raise
        raise UnpackError(
            f"{path}: damaged or not readable ({error}); delete it and download it again"
        ) from None
    return {name: member.file_size for name, member in wanted.items()}


def _is_seek_before_start(error: OSError) -> bool:
    """Whether it is an error about a place before the beginning of the archive, so damage."""
    return error.errno == errno.EINVAL and error.filename is None


def _check_safe(path: Path, member: zipfile.ZipInfo) -> None:
    # Windows rules recognize drives and both kinds of slashes, so they are the stricter ones.
    name = PureWindowsPath(member.filename)
    nameless = not name.parts and not member.filename.endswith("/")
    if nameless or name.drive or name.root or ".." in name.parts:
        raise UnpackError(
            f"{path}: refused, since its member {shown(member.filename)} would be written outside "
            "the target folder; this is not the expected archive"
        )
    if "\0" in member.orig_filename:  # `zipfile` cuts the name there.
        raise UnpackError(
            f"{path}: refused, since the name {shown(member.orig_filename)} contains NUL; this is "
            "not the expected archive"
        )
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a link" if stat.S_ISLNK(mode) else "a special file"
        raise UnpackError(
            f"{path}: refused, since its member {shown(member.filename)} is {kind} and only files "
            "and folders are expected; this is not the expected archive"
        )


def _wanted(
    path: Path, members: list[zipfile.ZipInfo], patterns: tuple[str, ...], flat: bool
) -> dict[str, zipfile.ZipInfo]:
    """Maps the target path, relative to the folder, to the member, for all wanted files."""
    wanted: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        name = PurePosixPath(member.filename)
        # macOS adds a file of metadata ("._name") for every file that it packs.
        if member.is_dir() or name.name.startswith("._") or name.parts[0] == "__MACOSX":
            continue
        if not any(fnmatch.fnmatchcase(str(name), pattern) for pattern in patterns):
            continue
        target = name.name if flat else str(name)
        if target in wanted:
            raise UnpackError(
                f"{path}: two members for the file {shown(target)}: "
                f"{shown(wanted[target].filename)} and {shown(member.filename)}; this is not the "
                "expected archive"
            )
        wanted[target] = member
    if not wanted:
        raise UnpackError(
            f"{path}: no member matches {', '.join(patterns)}; it contains "
            + (", ".join(shown(member.filename) for member in members[:5]) or "nothing")
        )
    return wanted


def _check_plausible(path: Path, wanted: dict[str, zipfile.ZipInfo], n_files: int) -> None:
    """Checks the directory of the archive, which `_extract` then holds its members to."""
    if len(wanted) < n_files:
        raise UnpackError(
            f"{path}: it contains only {len(wanted):,} of the {n_files:,} files; it is incomplete, "
            "delete it and download it again"
        )
    size, packed = sum(member.file_size for member in wanted.values()), path.stat().st_size
    if size > MAX_EXPANSION * packed:
        raise UnpackError(
            f"{path}: refused, since {bytes_text(packed)} would become {bytes_text(size)}; this is "
            "not the expected archive"
        )
    for name, member in wanted.items():
        if member.compress_type not in METHODS:
            raise UnpackError(
                f"{path}: refused, since {shown(member.filename)} is neither stored nor deflated; "
                "this is not the expected archive"
            )
        if not name.isprintable():
            raise UnpackError(
                f"{path}: refused, since the name {shown(name)} contains control characters; this "
                "is not the expected archive"
            )
        parts = PurePosixPath(name).parts
        if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
            raise UnpackError(
                f"{path}: refused, since the name {shown(name)} has more than {MAX_NAME_BYTES} "
                "bytes; this is not the expected archive"
            )
        if len(os.fsencode(name)) > MAX_PATH_BYTES:
            raise UnpackError(
                f"{path}: refused, since the path {shown(name)} has more than {MAX_PATH_BYTES:,} "
                "bytes; this is not the expected archive"
            )
        for parent in PurePosixPath(name).parents:
            if str(parent) in wanted:
                raise UnpackError(
                    f"{path}: refused, since {shown(str(parent))} is both a file and a folder; "
                    "this is not the expected archive"
                )


def _check_folders(folder: Path, names: Collection[str]) -> None:
    """Checks that no existing file is in the place of a folder of the archive."""
    for parent in {parent for name in names for parent in PurePosixPath(name).parents}:
        if (folder / parent).exists() and not (folder / parent).is_dir():
            raise UnpackError(
                f"{folder / parent} exists and is not a folder: move it away and run the same "
                "command again"
            )


def _missing(
    path: Path, folder: Path, wanted: Mapping[str, zipfile.ZipInfo]
) -> dict[str, zipfile.ZipInfo]:
    """The wanted files that do not exist; those that exist must be those of the archive."""
    existing = [name for name in wanted if os.path.lexists(folder / name)]
    if existing:
        with Progress(len(existing), f"{path.name}: compare", "files") as progress:
            for done, name in enumerate(existing, start=1):
                _check_existing(folder / name, wanted[name])
                progress.update(done)
    found = set(existing)
    return {name: member for name, member in wanted.items() if name not in found}


def _check_existing(target: Path, member: zipfile.ZipInfo) -> None:
    is_like = target.is_file() and target.stat().st_size == member.file_size
    if not is_like or _crc32(target) != member.CRC:
        raise UnpackError(
            f"{target} exists and is not the file of the archive: move it away and run the same "
            "command again"
        )


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    with archive.open(member) as source, written_atomically(target) as file:
        shutil.copyfileobj(source, file, 1 << 20)
        if file.tell() != member.file_size:
            raise UnpackError(
                f"{archive.filename}: {shown(member.filename)} has {file.tell():,} bytes instead "
                f"of {member.file_size:,}; the archive is damaged, delete it and download it again"
            )
