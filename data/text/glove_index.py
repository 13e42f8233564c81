"""Where every word stands in a large GloVe text file, so that single words are found at once.

The index takes one pass over the file and is kept beside it, as `<name>.index.npz`; a look-up
then reads the lines that it needs and nothing else.
"""

import contextlib
import hashlib
import json
import logging
import zipfile
import zlib
from pathlib import Path

import numpy as np

from config.files import written_atomically
from data.support.progress import Progress
from data.text.glove import glove_entries, parse_vector

# Files below this size are indexed in a second, and nothing is left beside them.
KEPT_FROM_BYTES = 64 << 20
_VERSION = 1
_REPORT_EVERY = 5000

_log = logging.getLogger(__name__)


class GloveIndex:
    """Random access to a GloVe text file.

    Args:
        path: the file, not compressed.
        embed_dim: numbers a vector must have.
        kept_from_bytes: size from which the index is written beside the file.

    Raises:
        ValueError: the file is damaged, or its vectors have another dimension.
    """

    def __init__(self, path, embed_dim, kept_from_bytes=KEPT_FROM_BYTES):
        self.path, self.embed_dim = Path(path), embed_dim
        status = self.path.stat()
        self._key = json.dumps([_VERSION, status.st_size, status.st_mtime_ns, embed_dim])
        kept = self.path.with_name(self.path.name + ".index.npz")
        index = _read(kept, self._key)
        if index is None:
            large = status.st_size >= kept_from_bytes
            index = _build(self.path, embed_dim, status.st_size, report=large)
            if large:
                _write(kept, self._key, *index)
        self._hashes, self._offsets = index

    def find(self, texts):
        """Vectors of words, as written.

        Args:
            texts: set of str.

        Returns:
            {text: float32 (embed_dim,)} of those that the file has; of words that stand in it
            twice, the first.

        Raises:
            ValueError: a line is damaged, or the file has changed since the index was opened.
        """
        found = {}
        with self.path.open("rb") as file:
            for text in sorted(texts):
                word = text.encode()
                for offset in self._places(word):
                    entry, numbers = self._entry(file, offset)
                    if entry == word:
                        found[text] = parse_vector(f"{self.path}: byte {offset}", numbers)
                        break
        return found

    def _places(self, word):
        """Offsets of the lines that may hold a word, in the order of the file.

        Two words may share a hash, and a word may stand in the file twice.
        """
        value = np.uint64(_hash(word))
        start = np.searchsorted(self._hashes, value, "left")
        end = np.searchsorted(self._hashes, value, "right")
        return self._offsets[start:end].tolist()

    def _entry(self, file, offset):
        file.seek(offset)
        fields = file.readline().rstrip().rsplit(b" ", self.embed_dim)
        if len(fields) != self.embed_dim + 1:
            raise ValueError(f"{self.path} has changed while it was in use; start again")
        return fields[0], b" ".join(fields[1:])


def _hash(word):
    """64 bits that are the same in every process, unlike those of hash()."""
    return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")


def _build(path, embed_dim, size, report):
    """(hashes uint64 in ascending order, offsets int64), those of equal hash as in the file."""
    hashes, offsets = [], []
    bar = Progress(size, f"index {path.name}", unit="B") if report else None
    with bar or contextlib.nullcontext():
        for number, (_, word, _, offset) in enumerate(glove_entries(path, embed_dim), start=1):
            hashes.append(_hash(word))
            offsets.append(offset)
            if bar is not None and number % _REPORT_EVERY == 0:
                bar.update(offset)
        if bar is not None:
            bar.update(size)
    hashes = np.array(hashes, np.uint64)
    order = np.argsort(hashes, kind="stable")
    return hashes[order], np.array(offsets, np.int64)[order]


def _read(path, key):
    """The index if there is one that fits and is whole, else None."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["key"].tobytes().decode() != key:
                return None
            hashes, offsets = file["hashes"], file["offsets"]
        if hashes.dtype != np.uint64 or hashes.ndim != 1 or offsets.shape != hashes.shape:
            raise ValueError(f"arrays of {hashes.dtype} {hashes.shape} and {offsets.shape}")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        _log.warning("%s: the index cannot be used and is made again (%s)", path, error)
        return None
    return hashes, offsets


def _write(path, key, hashes, offsets):
    try:
        with written_atomically(path) as file:
            np.savez(
                file, hashes=hashes, offsets=offsets, key=np.frombuffer(key.encode(), np.uint8)
            )
    except OSError as error:
        # A read-only folder costs time at the next start and nothing else.
        _log.warning("%s: the index cannot be kept for the next run (%s)", path, error)
