"""Features of frozen layers on disk: computed once per image, read in every epoch.

A store is a folder named by a hash of its key (weights, input size, images), so that stores of
other keys stay beside it and nothing is ever deleted. `features.bin` holds one row of bytes per
image, all its features in a sequence; `marks.bin` holds width and height, a checksum of the key and
one of the row for each row that is complete; `key.json` says what the features depend on. Rows that
were computed for another key count as missing, whatever the name of their folder.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import threading
import weakref
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError
from config.files import (
    check_folder,
    check_free_space,
    locked,
    no_space_named,
    remove_partial_files,
    write_bytes,
    write_text,
)
from data.loading.errors import DataError

# Part of the key: another layout of the files needs another number.
LAYOUT = 2
MARK = np.dtype("<u4")
FOLDER_NAME = re.compile("[0-9a-f]{16}")
MAX_KEY_BYTES = 1 << 26  # A key lists the images, of which there may be a million.
MARKS = 4  # Per row: width, height, checksum of the key, checksum of the row.


class DamagedCacheError(UserError):
    """Cached features are not what was written. The image is intact: no reason to skip it."""


@dataclass(frozen=True)
class OtherStore:
    """A store of another key beside a store.

    Attributes:
        folder: where it is.
        differing: names of the entries in which the keys differ.
        bytes: space that it takes on the disk.
    """

    folder: Path
    differing: tuple[str, ...]
    bytes: int


class FeatureStore:
    """The features of a list of images.

    Opening a store writes nothing, so that processes can share a complete one.

    Args:
        folder: the folder of all stores.
        key: plain values that the features depend on.
        images: image names, one per row.
        shapes: shape of each feature, without the batch axis.
        dtype: "float32", exact, or "float16", half the size.

    Attributes:
        folder: the folder of this store.
        shapes, dtype: as given.
        rows: row of each image.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        key: dict[str, Any],
        images: Sequence[str],
        shapes: Sequence[Sequence[int]],
        dtype: str = "float32",
    ) -> None:
        self.shapes, self.dtype = [tuple(shape) for shape in shapes], dtype
        self.rows = {image: row for row, image in enumerate(images)}
        whole_key = {**key, "images": list(images), "shapes": self.shapes, "dtype": dtype}
        self._key = json.dumps({**whole_key, "layout": LAYOUT}, sort_keys=True)
        self._key_checksum = zlib.crc32(self._key.encode())
        self.folder = Path(folder) / _folder_name(self._key)
        counts = [int(np.prod(shape)) for shape in self.shapes]
        self._row_bytes = sum(counts) * np.dtype(dtype).itemsize
        self._ends = np.cumsum(counts)[:-1]
        self._descriptor = -1
        self._unmarking = threading.Lock()  # Samples are read in several threads.
        self._marks = np.zeros((len(self.rows), MARKS), MARK)
        with contextlib.suppress(FileNotFoundError):
            self._open(os.O_RDONLY)

    @property
    def bytes(self) -> int:
        """Size of the complete store."""
        return len(self.rows) * self._row_bytes

    @property
    def missing(self) -> list[str]:
        """Names of the images without features, in order."""
        return [image for image, row in self.rows.items() if not self._marks[row, 0]]

    def others(self) -> list[OtherStore]:
        """The stores of other keys in the same folder."""
        mine, found = json.loads(self._key), []
        for path in sorted(self.folder.parent.glob("*/key.json")):
            # The name tells a store from a folder of the user, whose files are not even read.
            if path.parent == self.folder or not FOLDER_NAME.fullmatch(path.parent.name):
                continue
            with contextlib.suppress(OSError, ValueError, RecursionError):
                if not path.is_file() or path.stat().st_size > MAX_KEY_BYTES:
                    continue
                text = path.read_text(encoding="utf-8")
                key = json.loads(text)
                if path.parent.name != _folder_name(text) or not isinstance(key, dict):
                    continue
                differing = [name for name in sorted(key | mine) if key.get(name) != mine.get(name)]
                size = _allocated_bytes(path.parent / self._features_path.name)
                found.append(OtherStore(path.parent, tuple(differing), size))
        return found

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Opens the store for `write`, for one process at a time.

        A second process waits for the first, and then finds what that one has written. However the
        block ends, what it has written is kept.

        Raises:
            NoSpaceError: the features that are still missing do not fit on the disk.
        """
        check_folder(self.folder)
        self._check_space()
        message = f"{self.folder}: another process computes these features; waiting for it to end"
        with locked(self._lock_path, message, wait=True):
            for path in (self._marks_path, self._key_path):
                remove_partial_files(path)
            write_text(self._key_path, self._key)
            self._open(os.O_RDWR | os.O_CREAT)
            try:
                yield
            except BaseException:
                with contextlib.suppress(OSError):  # A full disk, too, has raised the first error.
                    self.flush()
                raise
            self.flush()

    def write(self, image: str, size: tuple[int, int], features: Sequence[np.ndarray]) -> None:
        """Stores the features of an image and its (width, height) in pixels, inside `writing`.

        Raises:
            DataError: a feature is not finite, or too large for the dtype.
            NoSpaceError: the disk is full.
        """
        row = self.rows[image]
        with np.errstate(over="ignore"):
            parts = [
                np.asarray(feature, self.dtype).reshape(shape).ravel()
                for feature, shape in zip(features, self.shapes, strict=True)
            ]
        values = np.concatenate(parts)
        if not np.isfinite(values).all():
            if all(np.isfinite(feature).all() for feature in features):
                raise DataError(
                    f"{image}: its features are too large for {self.dtype}; set cache_dtype=float32"
                )
            raise DataError(
                f"{image}: the network computes features that are NaN or infinite; its weights are "
                "damaged or their training has diverged: use others, or precision=float32"
            )
        content = values.tobytes()
        with no_space_named(self._features_path, self.bytes):
            _write_at(self._descriptor, content, row * self._row_bytes)
        self._marks[row] = (*size, self._key_checksum, _checksum(row, size, content))

    def flush(self) -> None:
        """Writes all changes to the disk, features before the marks that say they are complete.

        Raises:
            NoSpaceError: the disk is full.
        """
        try:
            with no_space_named(self._features_path, self.bytes):
                os.fsync(self._descriptor)
        except OSError:
            self._marks = self._read_marks()  # What came after the last flush may be lost.
            raise
        self._write_marks(self._marks)

    def read(self, image: str) -> tuple[list[np.ndarray], tuple[int, int]]:
        """Features of an image in the store's dtype, and its (width, height) in pixels.

        Raises:
            OSError: the file cannot be read.
            DamagedCacheError: the features are not what was written. Their mark is deleted, so
                that they count as missing when the store is opened again.
        """
        row = self.rows[image]
        width, height, _, checksum = self._marks[row].tolist()
        try:
            content = os.pread(self._descriptor, self._row_bytes, row * self._row_bytes)
        except OSError as error:
            if error.errno != errno.EIO:  # A bad sector is damage; a lost connection is not.
                raise OSError(error.errno, error.strerror, str(self._features_path)) from None
            content = b""
        if len(content) < self._row_bytes or checksum != _checksum(row, (width, height), content):
            raise self._damaged(image)
        parts = np.split(np.frombuffer(content, self.dtype), self._ends)
        features = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return features, (width, height)

    @property
    def _lock_path(self) -> Path:
        return self.folder / "lock"

    @property
    def _key_path(self) -> Path:
        return self.folder / "key.json"

    @property
    def _features_path(self) -> Path:
        return self.folder / "features.bin"

    @property
    def _marks_path(self) -> Path:
        return self.folder / "marks.bin"

    def _open(self, flags: int) -> None:
        self._descriptor = _open_own_file(self._features_path, flags)
        # Not at the end of the process, when threads may still be reading.
        weakref.finalize(self, os.close, self._descriptor).atexit = False
        self._marks = self._read_marks()

    def _read_marks(self) -> np.ndarray:
        """The marks on the disk, of this key and of those rows that the features' file contains."""
        marks = np.zeros((len(self.rows), MARKS), MARK)
        with contextlib.suppress(FileNotFoundError):
            status = self._marks_path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise UserError(f"{self._marks_path}: is a folder; move it away")
            if stat.S_ISREG(status.st_mode) and status.st_size == marks.nbytes:  # Else damaged.
                stored = np.fromfile(self._marks_path, MARK)
                rows_in_file = os.fstat(self._descriptor).st_size // self._row_bytes
                marks[:rows_in_file] = stored.reshape(marks.shape)[:rows_in_file]
                marks[marks[:, 2] != self._key_checksum] = 0
        return marks

    def _write_marks(self, marks: np.ndarray) -> None:
        write_bytes(self._marks_path, marks.tobytes(), durable=True)

    def _damaged(self, image: str) -> DamagedCacheError:
        row = self.rows[image]
        self._marks[row] = 0
        try:
            with self._unmarking, locked(self._lock_path, "another process writes the marks"):
                marks = self._read_marks()  # Another process may have added some.
                marks[row] = 0
                self._write_marks(marks)
        except OSError:
            way_out = f"delete {self.folder} and run the same command again"
        except UserError:
            way_out = "run the same command again once no other process computes features there"
        else:
            way_out = "run the same command again, which computes them anew"
        return DamagedCacheError(
            f"{self._features_path}: the cached features of {image} are damaged; {way_out}"
        )

    def _check_space(self) -> None:
        # The file is sparse: only what it occupies needs no more space.
        unwritten = self.bytes - min(_allocated_bytes(self._features_path), self.bytes)
        check_free_space(
            self.folder,
            min(len(self.missing) * self._row_bytes, unwritten),
            "The feature cache",
            "set cache_dir to a folder on a larger disk, cache_dtype=float16 for half the size, or "
            "cache_features=0",
        )


def _folder_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _open_own_file(path: Path, flags: int) -> int:
    """Opens a file that has no other name, so that writing changes nothing elsewhere.

    Raises:
        UserError: it is a link, has a second name or is no file.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    else:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            return descriptor
        os.close(descriptor)
    raise UserError(
        f"{path}: is a link or no file, and features are written only to a file without another "
        "name; replace it by a copy, or delete it to compute the features anew"
    )


def _checksum(row: int, size: tuple[int, int], content: bytes) -> int:
    """Checksum over the features and the size of an image, and over the row they belong to."""
    return zlib.crc32(content, zlib.crc32(np.array([row, *size], "<u8").tobytes()))


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    """Writes all bytes at an offset; the system may write fewer at a time."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _allocated_bytes(path: Path) -> int:
    """The space that a file occupies, 0 if there is none."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
