"""The index of a TensorFlow checkpoint, examined before TensorFlow reads it.

TensorFlow ends the process, which no `except` prevents, if a tensor in the index has an impossible
shape or type. The index is a table of sorted keys, as in LevelDB: blocks of (key, value) entries, a
block that lists these blocks, and a footer that locates the list. Values are protocol buffers, see
tensor_bundle.proto of TensorFlow. What TensorFlow never writes into either is refused, so that it
cannot understand a file in another way than this module does.
"""

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.errors import UserError

FOOTER_BYTES, MAGIC = 48, bytes.fromhex("57fb808b247547db")
# Behind each block: the kind of compression, 0 for none, and a checksum.
TRAILER_BYTES = 5
# The index of BERT-large with the slots of its optimizer has 0.1 MB and 1,200 tensors.
MOST_BYTES, MOST_TENSORS, LONGEST_KEY, MOST_AXES = 10_000_000, 20_000, 1000, 8
MOST_VALUES = 2**40
# Bytes by number of the type in types.proto: floats, integers and booleans.
ITEM_BYTES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 9: 8, 10: 1, 14: 2, 17: 2, 19: 2, 22: 4, 23: 8}
TEXT = 7
# Wire types of protocol buffers.
VARINT, BYTES, FIXED32 = 0, 2, 5
# Fields of a tensor: type, shape, file, offset, size and checksum.
TENSOR_FIELDS = {1: VARINT, 2: BYTES, 3: VARINT, 4: VARINT, 5: VARINT, 6: FIXED32}


class CheckpointIndexError(UserError):
    """The index cannot be used; the message says what is wrong, without the file's name."""


def check_index(path: str | os.PathLike) -> None:
    """Examines the index of a checkpoint whose tensors are all in one data file.

    Args:
        path: the `.index` file.

    Raises:
        CheckpointIndexError: it is damaged, or contains what TensorFlow does not write.
    """
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise CheckpointIndexError(f"has more than {MOST_BYTES:,} bytes")
    if len(content) < FOOTER_BYTES or not content.endswith(MAGIC):
        raise CheckpointIndexError("is not a TensorFlow checkpoint or is truncated")
    try:
        _check_table(content)
    except (IndexError, struct.error):
        raise CheckpointIndexError("is damaged (an entry is truncated)") from None


def _check_table(content: bytes) -> None:
    footer = content[-FOOTER_BYTES:]
    at = 0
    for _ in range(3):  # Offset and size of a list that is empty; offset of the list of blocks.
        number, at = _varint(footer, at)
    offset, (size, _) = number, _varint(footer, at)
    end, tensors = 0, 0
    for _, handle in _entries(_block(content, offset, size)):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        if start < end:  # Otherwise a small file might hold one block many times.
            raise CheckpointIndexError("is damaged (its blocks overlap)")
        end = start + length + TRAILER_BYTES
        for key, value in _entries(_block(content, start, length)):
            tensors += 1
            if tensors > MOST_TENSORS:
                raise CheckpointIndexError(f"lists more than {MOST_TENSORS:,} tensors")
            if key:  # The empty key has a header, which TensorFlow checks.
                _check_tensor(_name(key), value)


def _block(content: bytes, offset: int, size: int) -> bytes:
    if offset + size + TRAILER_BYTES > len(content):
        raise CheckpointIndexError("is damaged or truncated (a block is missing)")
    if content[offset + size]:
        raise CheckpointIndexError("is refused: it is compressed")
    return content[offset : offset + size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of a block. Its end lists entries whose keys are complete, for searching."""
    (count,) = struct.unpack_from("<I", block, len(block) - 4) if len(block) >= 4 else (0,)
    end = len(block) - 4 - 4 * count
    if not count or end < 0:
        raise CheckpointIndexError("is damaged (a block has wrong sizes)")
    restarts = set(struct.unpack_from(f"<{count}I", block, end))
    at, key, complete = 0, b"", {0}
    while at < end:
        start = at
        shared, at = _varint(block, at)
        added, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or shared + added > LONGEST_KEY or at + added + length > end:
            raise CheckpointIndexError("is damaged (an entry has wrong sizes)")
        if not shared:
            complete.add(start)
        key = key[:shared] + block[at : at + added]
        yield key, block[at + added : at + added + length]
        at += added + length
    if not restarts <= complete:
        raise CheckpointIndexError("is damaged (a block is searched where no entry is)")


def _name(key: bytes) -> str:
    name = key.decode("utf-8", "replace")
    if "\ufffd" in name or not name.isprintable():
        raise CheckpointIndexError(f"is refused: a name is not text ({ascii(name)[:80]})")
    return name


def _check_tensor(name: str, value: bytes) -> None:
    fields: dict[int, Any] = {}
    for number, wire, content in _fields(value):
        if TENSOR_FIELDS.get(number) != wire or number in fields:
            raise CheckpointIndexError(f"is refused: {name} is described in an unknown way")
        fields[number] = content
    kind, size = fields.get(1, 0), fields.get(5, 0)
    shape = _shape(name, fields.get(2, b""))
    if kind == TEXT:
        return
    if kind not in ITEM_BYTES:
        raise CheckpointIndexError(f"is refused: {name} does not hold numbers (type {kind})")
    if math.prod(shape) * ITEM_BYTES[kind] != size:
        raise CheckpointIndexError(f"is damaged: size and shape of {name} differ")


def _shape(name: str, content: bytes) -> list[int]:
    shape: list[int] = []
    for number, wire, axis in _fields(content):
        if (number, wire) != (2, BYTES):
            raise CheckpointIndexError(f"is refused: the shape of {name} is unknown")
        sizes = list(_fields(axis))
        if any((number, wire) != (1, VARINT) for number, wire, _ in sizes) or len(sizes) > 1:
            raise CheckpointIndexError(f"is refused: the shape of {name} is unknown")
        shape.append(sizes[0][2] if sizes else 0)
    # TensorFlow multiplies from the first axis on, before it sees that a later one is empty.
    if len(shape) > MOST_AXES or math.prod(max(size, 1) for size in shape) > MOST_VALUES:
        raise CheckpointIndexError(f"is refused: the shape of {name} is impossible")
    return shape


def _fields(content: bytes) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of the fields of a protocol buffer."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        wire = tag & 7
        value: Any
        if wire == VARINT:
            value, at = _varint(content, at)
        elif wire == BYTES:
            length, at = _varint(content, at)
            value, at = content[at : at + length], at + length
        elif wire == FIXED32:
            value, at = content[at : at + 4], at + 4
        else:
            raise CheckpointIndexError("is refused: a tensor is described in an unknown way")
        if at > len(content):
            raise CheckpointIndexError("is damaged (an entry is truncated)")
        yield tag >> 3, wire, value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends): seven bits per byte, the lowest first, and a bit that continues."""
    number = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            if number >= 2**64:
                break
            return number, at
    raise CheckpointIndexError("is damaged (a number is too long)")
