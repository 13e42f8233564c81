"""Index of a large GloVe text file for looking up single words.

Building the index takes one pass over the file. It is kept beside the file, as
`<name>.index.npz`; a lookup then reads only the lines of the requested words.
"""

import array
import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from config.errors import UserError
from data.support.progress import Progress
from data.text.array_cache import read_cached, write_cached
from data.text.glove import MAX_LINE_BYTES, glove_entries, parse_vector

# Smaller files are indexed within about a second; their index is not kept.
KEPT_FROM_BYTES = 64 << 20
_VERSION = 2
_REPORT_EVERY = 5000


class GloveIndex:
    """Random access to a GloVe text file.

    Args:
        path: the file, uncompressed.
        embed_dim: dimension that the vectors must have.
        kept_from_bytes: file size from which the index is written beside the file.

    Raises:
        UserError: the file is damaged, or its vectors have another dimension.
    """

    def __init__(
        self, path: str | os.PathLike, embed_dim: int, kept_from_bytes: int = KEPT_FROM_BYTES
    ) -> None:
        self.path, self.embed_dim = Path(path), embed_dim
        status = self.path.stat()
        self._key = json.dumps([_VERSION, status.st_size, status.st_mtime_ns, embed_dim])
        kept = self.path.with_name(self.path.name + ".index.npz")
        index = read_cached(kept, self._key, _parse)
        if index is None:
            large = status.st_size >= kept_from_bytes
            index = _build(self.path, embed_dim, status.st_size, report=large)
            if large:
                write_cached(kept, self._key, hashes=index[0], offsets=index[1])
        self._hashes, self._offsets = index

    def find(self, texts: set[str]) -> dict[str, np.ndarray]:
        """Looks up the vectors of words as they are written in the file.

        Args:
            texts: the words.

        Returns:
            Word → float32 (embed_dim,) for the words that the file contains. If a word occurs
            twice, its first vector is returned.

        Raises:
            UserError: a line is damaged, or the file has changed since the index was opened.
        """
        vectors = {}
        with self.path.open("rb") as file:
            for text in sorted(texts):
                word = text.encode()
                for offset in self._candidates(word):
                    entry, numbers = self._entry(file, offset)
                    if entry == word:
                        vectors[text] = parse_vector(f"{self.path}: byte {offset}", numbers)
                        break
        return vectors

    def _candidates(self, word: bytes) -> list[int]:
        """Offsets of the lines that may belong to a word, in the order of the file.

        Two words may have the same hash, and a word may occur twice.
        """
        value = np.uint64(_hash(word))
        start = np.searchsorted(self._hashes, value, "left")
        end = np.searchsorted(self._hashes, value, "right")
        return self._offsets[start:end].tolist()

    def _entry(self, file: BinaryIO, offset: int) -> tuple[bytes, bytes]:
        file.seek(offset)
        fields = file.readline(MAX_LINE_BYTES).rstrip().rsplit(b" ", self.embed_dim)
        if len(fields) != self.embed_dim + 1:
            raise UserError(f"{self.path} has changed while it was in use; restart")
        return fields[0], b" ".join(fields[1:])


def _hash(word: bytes) -> int:
    """A hash of 64 bits that is the same in every process, unlike that of hash()."""
    return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")


def _build(path: Path, embed_dim: int, size: int, report: bool) -> tuple[np.ndarray, np.ndarray]:
    """Indexes a file.

    Returns:
        Hashes of the words, ascending, (N,) uint64, and offsets of their lines, (N,) int64; equal
        hashes are in the order of the file.
    """
    hashes, offsets = array.array("Q"), array.array("q")  # Lists would need five times as much.
    progress = Progress(size, f"index {path.name}", unit="B") if report else None
    with progress or contextlib.nullcontext():
        for number, (_, word, _, offset) in enumerate(glove_entries(path, embed_dim), start=1):
            hashes.append(_hash(word))
            offsets.append(offset)
            if progress is not None and number % _REPORT_EVERY == 0:
                progress.update(offset)
        if progress is not None:
            progress.update(size)
    keys = np.array(hashes, np.uint64)
    order = np.argsort(keys, kind="stable")
    return keys[order], np.array(offsets, np.int64)[order]


def _parse(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    hashes, offsets = arrays["hashes"], arrays["offsets"]
    if hashes.dtype != np.uint64 or hashes.ndim != 1 or offsets.shape != hashes.shape:
        raise ValueError(f"arrays of {hashes.dtype} {hashes.shape} and {offsets.shape}")
    if offsets.dtype != np.int64 or (offsets < 0).any():
        raise ValueError("offsets outside the file")
    return hashes, offsets
