"""Expressions to word ids, and ids to word vectors.

The vectors of a data set's vocabulary are collected in one table before training starts, which is
kept beside the annotations. `data.text.sources` reads the vectors themselves.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.loading.annotations import Referent
from data.text.array_cache import array_text, read_cached, text_array, write_cached
from data.text.glove_index import GloveIndex
from data.text.sources import (
    WordSource,
    find_source,
    look_up,
    open_source,
    read_vectors,
)

# Part of the cache's key; increase it when the computation of a word's vector changes.
_CACHE_VERSION = 3


def tokenize(expression: str) -> list[str]:
    """Splits an expression into words at whitespace; case and punctuation are kept."""
    return expression.split()


def vocabulary_of(referents: Iterable[Referent]) -> list[str]:
    """The distinct words of all expressions, sorted."""
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
        vectors: (V+1, D) float32; row 0 is zero and represents padding and unknown words.
        index: word → row, for the V words that have a vector.
        unknown: words of the vocabulary without a vector, sorted.
    """

    vectors: np.ndarray
    index: dict[str, int]
    unknown: tuple[str, ...] = ()

    @property
    def n_unknown(self) -> int:
        """Number of words of the vocabulary without a vector."""
        return len(self.unknown)

    @property
    def embed_dim(self) -> int:
        """Dimension of the vectors."""
        return self.vectors.shape[1]

    def encode(self, expression: str, word_len: int) -> np.ndarray:
        """Ids of the first `word_len` words of an expression.

        Returns:
            (word_len,) int32; 0 for unknown words and after the end of the expression.
        """
        ids = np.zeros(word_len, np.int32)
        for position, word in enumerate(tokenize(expression)[:word_len]):
            ids[position] = self.index.get(word, 0)
        return ids

    def checksum(self) -> str:
        """SHA-256 of all words and vectors, as hexadecimal digits."""
        digest = hashlib.sha256(json.dumps([list(self.index), self.unknown]).encode())
        digest.update(self.vectors.tobytes())
        return digest.hexdigest()

    def lookup(self, ids: np.ndarray) -> np.ndarray:
        """Vectors of word ids: integers (..., T) → (..., T, D) float32."""
        return self.vectors[ids]


def build_word_table(
    word_embed: str,
    vocabulary: Iterable[str],
    embed_dim: int,
    cache_dir: str | os.PathLike | None = None,
) -> WordTable:
    """Reads the vectors of a vocabulary from a GloVe file or a spaCy pipeline.

    Args:
        word_embed: names the source, see `data.text.sources`.
        vocabulary: words as returned by `tokenize`, in any order.
        embed_dim: dimension that the vectors must have.
        cache_dir: folder in which the table is cached. The cached table is used as long as the
            path, size and modification time of the source, embed_dim and the vocabulary are the
            same; then neither the source nor spaCy is loaded.

    Raises:
        FileNotFoundError: no such source; the message says how to get one.
        UserError: the source is damaged or has vectors of another dimension.
        ValueError: an element of the vocabulary is not a single word.
    """
    words = sorted(set(vocabulary))
    for word in words:
        if tokenize(word) != [word]:
            raise ValueError(f"{word!r} is not a single word: tokenize expressions first")
    source = find_source(str(word_embed))
    if cache_dir is None:
        return table_of(read_vectors(source, words, embed_dim), embed_dim)
    key = _cache_key(source, words, embed_dim)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = Path(cache_dir) / f"words_{source.path.name.split('.')[0]}_{embed_dim}_{digest}.npz"
    table = read_cached(path, key, functools.partial(_parse_cache, embed_dim=embed_dim))
    if table is None:
        table = table_of(read_vectors(source, words, embed_dim), embed_dim)
        words_json = json.dumps({"known": list(table.index), "unknown": table.unknown})
        write_cached(path, key, vectors=table.vectors, words=text_array(words_json))
    return table


class WordSupply:
    """Word vectors for an open vocabulary, looked up on demand.

    The source is opened for the first expression. An uncompressed GloVe file is indexed once;
    a compressed one is read completely in every call with new words. The vectors of the most
    recently used words are kept in memory.

    Args:
        word_embed, embed_dim: see `build_word_table`.
        keep: number of words to keep in memory.

    Raises:
        FileNotFoundError: no such source; the message says how to get one.
        UserError: the file or folder is not a source of word vectors.
    """

    def __init__(self, word_embed: str, embed_dim: int, keep: int = 20_000) -> None:
        self.embed_dim, self.keep = embed_dim, keep
        self._source = find_source(str(word_embed))
        self._opened: tuple[Callable, Callable] | None = None
        self._vectors: OrderedDict[str, np.ndarray | None] = OrderedDict()

    def table(self, expressions: Iterable[str]) -> WordTable:
        """Looks up the vectors of all words of some expressions.

        Raises:
            UserError: the source is damaged or has vectors of another dimension.
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

    def _open(self) -> tuple[Callable, Callable]:
        if self._opened is None:
            find = None
            if self._source.kind == "glove" and self._source.path.suffix.lower() == ".txt":
                find = GloveIndex(self._source.path, self.embed_dim).find
            self._opened = open_source(self._source, self.embed_dim, find)
        return self._opened


def table_of(vector_of: dict[str, np.ndarray | None], embed_dim: int) -> WordTable:
    """Builds a table from words and their vectors, None for unknown words."""
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


def _parse_cache(arrays: Mapping[str, np.ndarray], embed_dim: int) -> WordTable:
    words, vectors = json.loads(array_text(arrays["words"])), arrays["vectors"]
    if vectors.shape != (len(words["known"]) + 1, embed_dim) or vectors.dtype != np.float32:
        raise ValueError(f"vectors of shape {vectors.shape}, {vectors.dtype}")
    index = {word: row for row, word in enumerate(words["known"], start=1)}
    return WordTable(vectors, index, tuple(words["unknown"]))
