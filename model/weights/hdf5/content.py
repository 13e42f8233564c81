"""Identifies a weight file by its content, and opens it if it is an HDF5 file.

Nothing here depends on a network or imports Keras, so that inspecting a file is quick.
"""

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py

from config.errors import Hdf5Error, RefusedHdf5Error, UserError, shortened
from config.hdf5_file import opened_hdf5
from config.run_files.commands import how_to_get
from config.run_folder import SETTINGS_FILE

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
KERAS_MEMBER = "model.weights.h5"
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# Weights are nearly random numbers, which hardly become smaller by compression.
MOST_EXPANSION, SMALL_FILE_BYTES = 10, 1_000_000
# What zipfile raises on damaged archives.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, UnicodeDecodeError)
FETCH_AGAIN = "download it again; `python -m model.weights inspect FILE` identifies a file"


class WeightsError(UserError):
    """A weight file cannot be used; the message names file, layer and remedy."""


def is_name(weights: str | os.PathLike) -> bool:
    """Whether this is the name of registered weights, such as "imagenet", instead of a file."""
    text = str(weights)
    return "/" not in text and "." not in text and not Path(text).exists()


def content_of(path: str | os.PathLike) -> str:
    """Identifies a file by its content, whatever its name.

    Returns:
        "hdf5" (Keras `.h5` and `.weights.h5`), "keras" (a `.keras` archive) or "darknet" (any
        other binary file, which `model.weights.darknet.read_darknet` examines further).

    Raises:
        WeightsError: the file does not exist or cannot be a weight file.
    """
    path = Path(path)
    if not path.exists():
        otherwise = "docs/weights.md lists what can be loaded and where to get it"
        raise WeightsError(f"{path}: no such weight file; {how_to_get(path, otherwise)}")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        if path.is_dir() and not (path / SETTINGS_FILE).is_file():
            kind = f"a folder without {SETTINGS_FILE}, so it is no run"
        raise WeightsError(f"{path}: is {kind}; specify the weight file itself")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise WeightsError(f"{path}: is empty; {FETCH_AGAIN}")
    if head.startswith(HDF5_SIGNATURE):
        return "hdf5"
    if head.startswith(b"PK\x03\x04"):
        _check_keras_archive(path)
        return "keras"
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull` in its "
            "repository, or download the file in a browser"
        )
    if head.startswith((b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ")):
        raise WeightsError(
            f"{path}: is a compressed archive; unpack it and specify the weight file inside"
        )
    if _is_text(head):
        start = head[:60].decode("utf-8", "replace").split("\n")[0].strip()
        page = "a web page" if head.lstrip().startswith(b"<") else "text"
        raise WeightsError(
            f'{path}: is {page} ("{start}"), not a weight file, so the download link was wrong or '
            f"has expired; {FETCH_AGAIN}"
        )
    return "darknet"


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")
    # The last character may be cut off.
    return len(text.encode()) >= len(head) - 3 and all(
        c.isprintable() or c in "\t\r\n" for c in text
    )


def _check_keras_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise WeightsError(f"{path}: is a damaged zip archive ({error}); {FETCH_AGAIN}") from None
    if members.count(KERAS_MEMBER) > 1:
        raise WeightsError(f"{path}: is refused: the archive has two files {KERAS_MEMBER}")
    if KERAS_MEMBER not in members:
        names = [shortened(name) for name in members]
        raise WeightsError(
            f"{path}: is a zip archive with {listed(names) or 'no files'}, not a .keras file of "
            "Keras 3; unpack it and specify the weight file inside"
        )


def _keras_member(path: str | os.PathLike) -> bytes:
    """The HDF5 file inside a `.keras` archive; nothing else of the archive is read.

    Raises:
        WeightsError: it is damaged, or is compressed by another method or more than weights can
            be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (member,) = (m for m in archive.infolist() if m.filename == KERAS_MEMBER)
            if member.compress_type not in METHODS:
                raise WeightsError(
                    f"{path}: is refused: its {KERAS_MEMBER} is compressed by a method that Keras "
                    "does not use; unpack it and specify the weight file inside"
                )
            if member.file_size > SMALL_FILE_BYTES + MOST_EXPANSION * os.path.getsize(path):
                raise WeightsError(
                    f"{path}: is refused: its {KERAS_MEMBER} expands to {member.file_size:,} bytes"
                )
            return archive.read(member)
    except _ZIP_ERRORS as error:
        raise WeightsError(f"{path}: is a damaged archive ({error}); {FETCH_AGAIN}") from None


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Opens a `.h5` file, or the one inside a `.keras` archive, for reading.

    The file has been examined, see `config.hdf5_file.opened_hdf5`. Errors that h5py raises within
    the `with` block count as damage of the file.

    Raises:
        WeightsError: the file is neither of these, is damaged, or contains what weights never do.
    """
    content = content_of(path)
    if content == "darknet":
        raise WeightsError(f"{path}: is not an HDF5 file; {FETCH_AGAIN}")
    source = _keras_member(path) if content == "keras" else path
    try:
        with opened_hdf5(source) as file:
            yield file
    except RefusedHdf5Error as error:
        raise WeightsError(f"{path}: {error}") from None
    except Hdf5Error as error:
        raise WeightsError(f"{path}: {error}; {FETCH_AGAIN}") from None
    except (OSError, KeyError, RuntimeError) as error:  # What h5py raises on damaged files.
        raise WeightsError(f"{path}: is damaged ({error}); {FETCH_AGAIN}") from None


def listed(names: Sequence[str], shown: int = 4) -> str:
    """Lists the first few names for a message: "a, b, c, d and 3 more"."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
