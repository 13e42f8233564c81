"""Expressions to word ids, ids to word vectors.

The vocabulary of a data set is turned into one table of vectors before training starts, and the
table is kept beside the annotations. `data.text.sources` reads the vectors themselves.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.files import written_atomically
from data.loading.annotations import Referent
from data.text.glove_index import GloveIndex
from data.text.sources import (
    WordSource,
    find_source,
    look_up,
    open_source,
    read_vectors,
)

# Part of the cache's key: raise it when the way from a word to its vector changes.
_CACHE_VERSION = 1

_log = logging.getLogger(__name__)


def tokenize(expression: str) -> list[str]:
    """Words of an expression: split at blanks, as stored (case and punctuation kept)."""
    return expression.split()


def vocabulary_of(referents: Iterable[Referent]) -> list[str]:
    """All different words of all expressions, sorted."""
    return sorted(
        {
            word
            for referent in referents
            for expression in referent.expressions
            for word in tokenize(expression)
        }
    )


@dataclass(frozen=True, eq=False)
class WordTable:
    """Vectors of a vocabulary.

    Attributes:
        vectors: float32 (V+1, D); row 0 is zeros and stands for padding and unknown words.
        index: word → row, for the V words that have a vector.
        unknown: words of the vocabulary without a vector, sorted.
    """

    vectors: np.ndarray
    index: dict[str, int]
    unknown: tuple[str, ...] = ()

    @property
    def n_unknown(self) -> int:
        """Different words of the vocabulary without a vector."""
        return len(self.unknown)

    @property
    def oov_rate(self) -> float:
        """Share of the vocabulary's different words that have no vector, 0..1."""
        return self.n_unknown / max(self.n_unknown + len(self.index), 1)

    @property
    def embed_dim(self) -> int:
        """Numbers of a vector."""
        return self.vectors.shape[1]

    def encode(self, expression: str, word_len: int) -> np.ndarray:
        """Ids of the first `word_len` words.

        Returns:
            int32 (word_len,); 0 where the expression has ended or the word is unknown.
        """
        ids = np.zeros(word_len, np.int32)
        for position, word in enumerate(tokenize(expression)[:word_len]):
            ids[position] = self.index.get(word, 0)
        return ids

    def lookup(self, ids: np.ndarray) -> np.ndarray:
        """Vectors of ids: integers (..., T) → float32 (..., T, D)."""
        return self.vectors[ids]


def build_word_table(
    word_embed: str,
    vocabulary: Iterable[str],
    embed_dim: int,
    cache_dir: str | os.PathLike | None = None,
) -> WordTable:
    """Vectors of a vocabulary from a GloVe file or a spaCy pipeline.

    Args:
        word_embed: see `data.text.sources`.
        vocabulary: words as `tokenize` gives them, in any order.
        embed_dim: numbers a vector must have.
        cache_dir: folder for the finished table. It is found again by source, size and time of
            the source, embed_dim and vocabulary, and then neither the source nor spaCy is opened.

    Raises:
        FileNotFoundError: no such source; the message says how to get one.
        ValueError: a damaged source, vectors of another dimension, or a "word" with blanks.
    """
    words = sorted(set(vocabulary))
    for word in words:
        if tokenize(word) != [word]:
            raise ValueError(f"{word!r} is not one word: tokenize expressions first")
    source = find_source(str(word_embed))
    if cache_dir is None:
        return table_of(read_vectors(source, words, embed_dim), embed_dim)
    key = _cache_key(source, words, embed_dim)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = Path(cache_dir) / f"words_{source.path.name.split('.')[0]}_{embed_dim}_{digest}.npz"
    table = _read_cache(path, key, embed_dim)
    if table is None:
        table = table_of(read_vectors(source, words, embed_dim), embed_dim)
        _write_cache(path, key, table)
    return table


class WordSupply:
    """Vectors of words that nobody listed beforehand, looked up as expressions come.

    The source is found at once and opened at the first expression. A GloVe text file is indexed
    once and never read through again; compressed files are read through at each call that brings
    new words. Vectors stay in memory up to a number of words, those used last.

    Args:
        word_embed, embed_dim: as of `build_word_table`.
        keep: words to keep in memory.

    Raises:
        FileNotFoundError, ValueError: as `build_word_table`.
    """

    def __init__(self, word_embed: str, embed_dim: int, keep: int = 20_000):
        self.embed_dim, self.keep = embed_dim, keep
        self._source = find_source(str(word_embed))
        self._opened = None
        self._vectors: OrderedDict[str, np.ndarray | None] = OrderedDict()

    def table(self, expressions: Iterable[str]) -> WordTable:
        """Vectors of the words of some expressions.

        Raises:
            ValueError: a damaged source, or vectors of another dimension.
        """
        words = {word for expression in expressions for word in tokenize(expression)}
        new = sorted(words - self._vectors.keys())
        if new:
            self._vectors.update(look_up(new, *self._open()))
        for word in words:
            self._vectors.move_to_end(word)
        table = table_of({word: self._vectors[word] for word in words}, self.embed_dim)
        while len(self._vectors) > self.keep:
            self._vectors.popitem(last=False)
        return table

    def _open(self):
        if self._opened is None:
            find = None
            if self._source.kind == "glove" and self._source.path.suffix.lower() == ".txt":
                find = GloveIndex(self._source.path, self.embed_dim).find
            self._opened = open_source(self._source, self.embed_dim, find)
        return self._opened


def table_of(vector_of: dict[str, np.ndarray | None], embed_dim: int) -> WordTable:
    """The table of words and their vectors, None for unknown ones."""
    words = sorted(vector_of)
    known = [word for word in words if vector_of[word] is not None]
    vectors = np.zeros((len(known) + 1, embed_dim), np.float32)
    for row, word in enumerate(known, start=1):
        vectors[row] = vector_of[word]
    return WordTable(
        vectors=vectors,
        index={word: row for row, word in enumerate(known, start=1)},
        unknown=tuple(word for word in words if vector_of[word] is None),
    )


def _cache_key(source: WordSource, words: list[str], embed_dim: int) -> str:
    return json.dumps(
        {
            "version": _CACHE_VERSION,
            "spacy": importlib.metadata.version("spacy"),  # its tokenizer splits the words
            "path": str(source.path),
            "size": source.size,
            "mtime_ns": source.mtime_ns,
            "embed_dim": embed_dim,
            "vocabulary": hashlib.sha256("\n".join(words).encode()).hexdigest(),
        }
    )


def _read_cache(path: Path, key: str, embed_dim: int) -> WordTable | None:
    """The table if there is one and it is whole, else None."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            words = json.loads(file["words"].tobytes())
            vectors = file["vectors"]
            stored_key = file["key"].tobytes().decode()
        if stored_key != key:
            raise ValueError("it belongs to another source or vocabulary")
        if vectors.shape != (len(words["known"]) + 1, embed_dim) or vectors.dtype != np.float32:
            raise ValueError(f"vectors of shape {vectors.shape}, {vectors.dtype}")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        _log.warning("%s: word vectors cannot be reused and are built again (%s)", path, error)
        return None
    index = {word: row for row, word in enumerate(words["known"], start=1)}
    return WordTable(vectors, index, tuple(words["unknown"]))


def _write_cache(path: Path, key: str, table: WordTable) -> None:
    words = json.dumps({"known": list(table.index), "unknown": table.unknown})
    try:
        with written_atomically(path) as file:
            np.savez(
                file,
                vectors=table.vectors,
                words=np.frombuffer(words.encode(), np.uint8),
                key=np.frombuffer(key.encode(), np.uint8),
            )
    except OSError as error:
        # A read-only data folder costs time at the next start and nothing else.
        _log.warning("%s: word vectors cannot be kept for the next run (%s)", path, error)
