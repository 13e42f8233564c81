"""The encoding of HDF5 files, as far as sizes in it must be checked before HDF5 uses them.

Nothing here uses HDF5: the functions read bytes, as the HDF5 file format specification describes.
"""

import mmap
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from config.errors import Hdf5Error

Content: TypeAlias = bytes | mmap.mmap

# How a heap of texts starts, version included, and what refers to a text in it.
HEAP = b"GCOL\x01"
REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])
# Kinds of messages in the header of a group or array.
ATTRIBUTE_MESSAGE, CONTINUATION_MESSAGE = 0x0C, 0x10


def check_heaps(content: Content) -> None:
    """Checks the heaps in which HDF5 keeps texts of variable length.

    HDF5 never returns from reading one whose sizes are wrong. Heaps may lie within heaps, since
    space of deleted ones is used again, but not so often that checking them takes long.

    Raises:
        Hdf5Error: the sizes in a heap are wrong, or heaps overlap too often.
    """
    steps_left = len(content) // 8  # An object has at least 16 bytes.
    start = content.find(HEAP)
    while start >= 0:
        end = start + _number(content, start + 8, 8)
        at = start + 16
        while at + 16 <= end:
            steps_left -= 1
            if steps_left < 0:
                raise Hdf5Error("is damaged (overlapping heaps of texts)")
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


def claimed_bytes(content: Content, address: int, name: str, count: int) -> int | None:
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
