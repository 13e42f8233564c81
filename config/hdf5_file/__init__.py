"""HDF5 files: written completely or not at all, and examined before anything in them is used.

A file is built in memory, sealed with a checksum over everything it contains, and then written
atomically: HDF5 itself leaves partial files, or ends the process, when a disk is full.

A file to read may come from a stranger. HDF5 can pull in other local files (external links,
external storage, virtual datasets), lead in circles (links) and expand without limit (compressed
or unallocated arrays). `opened_hdf5` therefore examines the whole structure first and refuses
what weights and training states never contain, so that what reads the file afterwards need not.

Start with `opened_hdf5`. `examination.py` says what is refused, and `encoding.py` reads the
sizes in a file that HDF5 would use without checking them.
"""

import hashlib
import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from config.errors import Hdf5Error
from config.files import write_bytes
from config.hdf5_file.encoding import Content, check_heaps
from config.hdf5_file.examination import Item, examine

# The checksum, and the attribute that names it, so that a sealed file without checksum is damaged.
CHECKSUM, SEALED_BY = "checksum_blake2b", "sealed_by"
# What h5py raises on damaged files.
_H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)


@contextmanager
def written_hdf5(
    path: str | os.PathLike, content: io.BytesIO | None = None, *, replace: bool = True
) -> Iterator[h5py.File]:
    """Opens an HDF5 file in memory that is written to `path` once the block has ended.

    The file is sealed with a checksum, see `opened_hdf5`, and flushed to disk. If the block raises
    or the disk is full, an existing file stays unchanged and no partial file is left behind. The
    whole file is in memory once.

    Args:
        path: the file to write or replace; missing folders are created.
        content: an HDF5 file in memory to complete; a new one by default.
        replace: whether it replaces what has its name by then.

    Yields:
        The open file.

    Raises:
        FileExistsError: something has the name, and `replace` is not set.
        NoSpaceError: the disk is full; the message names the file and its size.
    """
    mode = "w" if content is None else "r+"
    content = content or io.BytesIO()
    with h5py.File(content, mode) as file:
        yield file
        file.attrs[SEALED_BY] = CHECKSUM
        file.attrs[CHECKSUM] = checksum(file)
    with content.getbuffer() as view:
        write_bytes(path, view, durable=True, replace=replace)


@contextmanager
def opened_hdf5(source: str | os.PathLike | bytes) -> Iterator[h5py.File]:
    """Opens an HDF5 file for reading, after it has been examined.

    A file has passed if it consists of groups and arrays of numbers, each reached by one hard
    link, whose values are all stored in the file itself, uncompressed, with attributes of bounded
    size, and if its checksum is right. Files of other programs have no checksum.

    Args:
        source: the file, or its content.

    Raises:
        FileNotFoundError, PermissionError: the file cannot be opened.
        Hdf5Error: the file is damaged, or contains what is refused. The message does not name
            the file.
    """
    with _content_of(source) as content:
        check_heaps(content)
        try:
            file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
        except _H5PY_ERRORS as error:
            raise Hdf5Error(f"cannot be read and is probably truncated ({_text(error)})") from None
        with file:
            try:
                examine(file, content)
                _check_seal(file)
            except Hdf5Error:
                raise
            except _H5PY_ERRORS as error:
                raise Hdf5Error(f"is damaged ({_text(error)})") from None
            yield file


def checksum(file: h5py.File) -> str:
    """The checksum over all names, attributes, shapes, dtypes and values of a file.

    Returns:
        Hexadecimal digest. The attribute that stores it is left out.
    """
    digest = hashlib.blake2b(digest_size=16)
    for item in items_of(file):
        digest.update(_framed(item.name))
        for name in sorted(item.attrs):
            if (item.name, name) != ("/", CHECKSUM):
                digest.update(_framed(name))
                _add_array(digest, np.asarray(item.attrs[name]))
        if isinstance(item, h5py.Dataset):
            _add_array(digest, item[()])
    return digest.hexdigest()


def items_of(file: h5py.File) -> Iterator[Item]:
    """All groups and arrays of a file, in an order that depends on their names alone.

    It takes the way that `opened_hdf5` has examined; `visititems` of h5py follows other addresses,
    too, which may be wrong in a damaged file.
    """
    waiting: list[Item] = [file["/"]]
    while waiting:
        item = waiting.pop()
        yield item
        if isinstance(item, h5py.Group):
            waiting += [item[name] for name in sorted(item)]


def _add_array(digest: Any, values: np.ndarray) -> None:
    """Adds dtype, shape and values of an array or attribute."""
    values = np.asarray(values)
    digest.update(_framed(f"{values.dtype.str} {values.shape}"))
    if values.dtype.kind == "O":  # Text of variable length.
        for text in values.ravel():
            digest.update(_framed(text))
    elif values.dtype.kind == "U":  # A single text, as h5py returns it.
        digest.update(_framed(str(values)))
    else:
        digest.update(np.ascontiguousarray(values).data)


def _framed(text: str | bytes) -> bytes:
    """The bytes of a text, preceded by their number, so that no two sequences of texts agree."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return len(content).to_bytes(8, "little") + content


def _check_seal(file: h5py.File) -> None:
    if CHECKSUM not in file.attrs:
        if SEALED_BY in file.attrs:
            raise Hdf5Error("is damaged (it has no checksum)")
    elif file.attrs[CHECKSUM] != checksum(file):
        raise Hdf5Error("is damaged (its contents do not match its checksum)")


@contextmanager
def _content_of(source: str | os.PathLike | bytes) -> Iterator[Content]:
    if isinstance(source, bytes):
        yield source
        return
    with Path(source).open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def _text(error: BaseException) -> str:
    return str(error).replace("\n", " ")
