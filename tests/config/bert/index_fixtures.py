"""Writes indexes of TensorFlow checkpoints, also such as TensorFlow never writes."""

import struct

WORDS = b"bert/embeddings/word_embeddings"
MAGIC = bytes.fromhex("57fb808b247547db")


def crc32c(content):
    """The checksum of blocks, masked as in LevelDB."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number):
    number &= 2**64 - 1
    content = b""
    while number > 127:
        content += bytes([number & 127 | 128])
        number >>= 7
    return content + bytes([number])


def field(number, value):
    """A field of a protocol buffer: bytes, or a whole number."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def tensor(dtype=1, dims=(2,), size=8, shard=0, offset=0, extra=b""):
    """The description of a tensor, without the checksum of its values."""
    shape = b"".join(field(2, field(1, axis)) for axis in dims)
    return b"".join(
        [field(1, dtype), field(2, shape), field(3, shard), field(4, offset), field(5, size), extra]
    )


def block(entries, restarts=None):
    content, starts = b"", []
    for key, value in entries:
        starts.append(len(content))
        content += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    starts = (restarts or starts) or [0]
    return content + struct.pack(f"<{len(starts) + 1}I", *starts, len(starts))


def table(entries, repeated=1, kind=b"\0", restarts=None):
    """An index with one block of entries, listed `repeated` times."""
    content = b""

    def put(part):
        nonlocal content
        handle = varint(len(content)) + varint(len(part))
        content += part + kind + struct.pack("<I", crc32c(part + kind))
        return handle

    handle = put(block(entries, restarts))
    handles = put(block([])) + put(block([(b"\xff", handle)] * repeated))
    return content + handles + bytes(40 - len(handles)) + MAGIC


def index(*tensors, **changes):
    """An index with a valid header and tensors of the name WORDS."""
    header = field(1, 1) + field(3, field(1, 1))
    return table([(b"", header), *((WORDS, value) for value in tensors)], **changes)
