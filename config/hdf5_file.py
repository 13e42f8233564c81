"""HDF5 files: written completely or not at all, and examined before anything in them is used.

A file is built in memory, sealed with a checksum over everything it contains, and then written
atomically: HDF5 itself leaves partial files, or ends the process, when a disk is full.

A file to read may come from a stranger. HDF5 can pull in other local files (external links,
external storage, virtual datasets), lead in circles (links) and expand without limit (compressed
or unallocated arrays). `opened_hdf5` therefore examines the whole structure first and refuses
what weights and training states never contain, so that what reads the file afterwards need not.
"""

import hashlib
import io
import math
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from config.errors import UserError
from config.files import write_bytes

# The checksum, and the attribute that names it, so that a sealed file without checksum is damaged.
CHECKSUM, SEALED_BY = "checksum_blake2b", "sealed_by"
LONGEST_NAME, MOST_LEVELS = 1000, 50
# How a heap of texts starts, version included, and what refers to a text in it.
HEAP = b"GCOL\x01"
REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])
# Kinds of messages in the header of a group or array.
ATTRIBUTE_MESSAGE, CONTINUATION_MESSAGE = 0x0C, 0x10
# The longest attribute that HDF5 stores beside an object.
ATTRIBUTE_BYTES = 64 * 1024
ATTRIBUTE_TYPES = {h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM}
# Kinds of NumPy dtypes of arrays: floats, signed and unsigned integers, and booleans.
ARRAY_KINDS, ARRAY_ITEM_BYTES = "fiub", 8
# What h5py raises on damaged files.
_H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)

Item: TypeAlias = "h5py.Group | h5py.Dataset"
Content: TypeAlias = bytes | mmap.mmap


class Hdf5Error(UserError):
    """An HDF5 file cannot be used; the message says what is wrong, without the file's name."""


class RefusedHdf5Error(Hdf5Error):
    """The file contains something that neither weights nor training states contain."""


@contextmanager
def written_hdf5(path: str | os.PathLike, content: io.BytesIO | None = None) -> Iterator[h5py.File]:
    """Opens an HDF5 file in memory that replaces `path` once the block has ended.

    The file is sealed with a checksum, see `opened_hdf5`, and flushed to disk. If the block raises
    or the disk is full, an existing file stays unchanged and no partial file is left behind. The
    whole file is in memory once.

    Args:
        path: the file to write or replace; missing folders are created.
        content: an HDF5 file in memory to complete; a new one by default.

    Yields:
        The open file.

    Raises:
        NoSpaceError: the disk is full; the message names the file and its size.
    """
    mode = "w" if content is None else "r+"
    content = content or io.BytesIO()
    with h5py.File(content, mode) as file:
        yield file
        file.attrs[SEALED_BY] = CHECKSUM
        file.attrs[CHECKSUM] = checksum(file)
    with content.getbuffer() as view:
        write_bytes(path, view, durable=True)


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
        _check_heaps(content)
        try:
            file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
        except _H5PY_ERRORS as error:
            raise Hdf5Error(f"cannot be read and is probably truncated ({_text(error)})") from None
        with file:
            try:
                _examine(file, content)
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


def _check_heaps(content: Content) -> None:
    """Checks the heaps in which HDF5 keeps texts of variable length.

    HDF5 never returns from reading one whose sizes are wrong.

    Raises:
        Hdf5Error: the sizes in a heap are wrong.
    """
    start = content.find(HEAP)
    while start >= 0:
        end = start + _number(content, start + 8, 8)
        at = start + 16
        while at + 16 <= end:
            index, size = _heap_object(content[at : at + 16])
            # The free space, which has the index 0, counts its own header.
            following = at + (size if index == 0 else 16 + -(-size // 8) * 8)
            if following > end or following < at + 16:
                raise Hdf5Error("is damaged (wrong sizes in a heap of texts)")
            at = following
        if end > len(content) or end <= start:
            raise Hdf5Error("is damaged (a heap of texts is truncated)")
        start = content.find(HEAP, start + 1)


def _heap_object(header: bytes) -> tuple[int, int]:
    """(index, size) of an object: two bytes for each of index and count, four empty, eight."""
    return _number(header, 0, 2), _number(header, 8, 8)


def _number(content: Content, at: int, size: int) -> int:
    return int.from_bytes(content[at : at + size], "little")


def _claimed_bytes(content: Content, address: int, name: str, count: int) -> int | None:
    """The size of all texts of an attribute according to its references to them.

    HDF5 allocates this size before it looks whether there are such texts.

    Args:
        content: the whole file.
        address: of the header of the group or array that has the attribute.
        name: name of the attribute.
        count: number of texts of variable length that it consists of.

    Returns:
        None if the header does not contain the attribute itself.
    """
    claims = []
    for message in _attribute_messages(content, address):
        start, unit = (9 if message[0] == 3 else 8), (8 if message[0] == 1 else 1)
        name_size, *others = (_number(message, at, 2) for at in (2, 4, 6))
        if message[start : start + name_size].split(b"\0")[0] == name.encode():
            start += sum(-(-size // unit) * unit for size in (name_size, *others))
            references = message[start : start + count * REFERENCE.itemsize]
            if len(references) == count * REFERENCE.itemsize:
                claims.append(int(np.frombuffer(references, REFERENCE)["length"].sum(dtype="u8")))
    return max(claims, default=None)


def _attribute_messages(content: Content, address: int) -> Iterator[bytes]:
    """The attributes that are stored in a header, as they are encoded.

    The HDF5 file format specification describes both versions of headers in section IV.A.1.
    """
    recent = content[address : address + 4] == b"OHDR"
    if recent:
        flags = content[address + 5]
        start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        blocks = [(start + width, _number(content, start, width))]
        kind_bytes, prefix = 1, 6 if flags & 4 else 4
    else:
        blocks = [(address + 16, _number(content, address + 8, 4))]
        kind_bytes, prefix = 2, 8
    for at, size in blocks:  # Grows in the loop.
        end = min(at + size, len(content))
        while at + prefix <= end:
            kind, size = _number(content, at, kind_bytes), _number(content, at + kind_bytes, 2)
            at += prefix
            if kind == ATTRIBUTE_MESSAGE and size >= 8:
                yield content[at : at + size]
            elif kind == CONTINUATION_MESSAGE:
                block = _number(content, at, 8), _number(content, at + 8, 8)
                # Recent blocks have a signature and a checksum of four bytes each.
                block = (block[0] + 4, block[1] - 8) if recent else block
                if block not in blocks:
                    blocks.append(block)
            at += size


def _examine(file: h5py.File, content: Content) -> None:
    """Raises Hdf5Error at the first thing that is refused. Reads no arrays."""
    properties = file.id.get_create_plist()
    if properties.get_sizes() != (8, 8) or properties.get_userblock():
        raise RefusedHdf5Error("is refused: its addresses do not have 64 bits, or start elsewhere")
    waiting: list[h5py.Group] = [file["/"]]
    seen = set()
    while waiting:
        group = waiting.pop()
        _examine_attributes(group, content)
        names = list(group)
        if len(set(names)) < len(names):
            raise Hdf5Error(f"is damaged: a name occurs twice in {group.name}")
        for name in names:
            check_name(name, group.name)
            if group.name.count("/") > MOST_LEVELS:
                raise RefusedHdf5Error(
                    f"is refused: its groups are nested more than {MOST_LEVELS} deep"
                )
            path = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise RefusedHdf5Error(
                    f"is refused: {path} is a link to another place or another file"
                )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise RefusedHdf5Error(
                    f"is refused: {path} occurs in the file under another name, too"
                )
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                _examine_array(item, path)
                _examine_attributes(item, content)
            else:
                raise RefusedHdf5Error(f"is refused: {path} is neither a group nor an array")


def _examine_array(array: h5py.Dataset, path: str) -> None:
    properties = array.id.get_create_plist()
    if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
        raise RefusedHdf5Error(f"is refused: the values of {path} are in another file")
    if properties.get_nfilters():
        raise RefusedHdf5Error(
            f"is refused: {path} is compressed; `h5repack -f NONE IN OUT` writes an uncompressed "
            "file"
        )
    dtype, shape = array.dtype, array.shape
    if dtype.kind not in ARRAY_KINDS or dtype.itemsize > ARRAY_ITEM_BYTES or shape is None:
        raise RefusedHdf5Error(f"is refused: {path} holds {dtype}, not numbers")
    if array.id.get_storage_size() < math.prod(shape) * array.id.get_type().get_size():
        raise Hdf5Error(f"is damaged: values of {path} are missing")


def _examine_attributes(item: Item, content: Content) -> None:
    for name in item.attrs:
        check_name(name, item.name)
        attribute = item.attrs.get_id(name)
        if attribute.shape is None:
            raise RefusedHdf5Error(f"is refused: attribute {name} of {item.name} has no value")
        count, kind = math.prod(attribute.shape), attribute.get_type().get_class()
        size = count * attribute.get_type().get_size()
        if kind not in ATTRIBUTE_TYPES or size > ATTRIBUTE_BYTES:
            raise RefusedHdf5Error(
                f"is refused: attribute {name} of {item.name} is neither text nor numbers, or too "
                f"large ({size:,} bytes)"
            )
        if attribute.dtype.kind == "O":
            # HDF5 would read beyond references that are stored as smaller ones.
            if attribute.get_storage_size() != count * REFERENCE.itemsize:
                raise Hdf5Error(f"is damaged (the texts of {name} of {item.name})")
            claimed = _claimed_bytes(content, h5py.h5o.get_info(item.id).addr, name, count)
            if claimed is None:
                raise RefusedHdf5Error(
                    f"is refused: attribute {name} of {item.name} is not stored beside it; "
                    "`h5repack IN OUT` writes a file in which it is"
                )
            if claimed > len(content):
                raise RefusedHdf5Error(
                    f"is refused: the texts of {name} of {item.name} would be longer than the file"
                )
            item.attrs[name]  # Raises if they are not where the references lead.


def check_name(name: str | bytes, where: str) -> None:
    """Raises Hdf5Error if a name is not UTF-8, is very long, or would control a terminal."""
    if isinstance(name, bytes) or not name.isprintable() or len(name) > LONGEST_NAME:
        raise RefusedHdf5Error(f"is refused: a name in {where} is not text ({ascii(name)[:80]})")


def _text(error: BaseException) -> str:
    return str(error).replace("\n", " ")
