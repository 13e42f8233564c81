"""Turns expressions into the text input of the network."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.bert.folder import read_bert_folder
from config.errors import UserError
from config.schema import Config
from data.loading.annotations import Referent
from data.text.vectors import WordSupply, WordTable, build_word_table, tokenize, vocabulary_of
from data.text.wordpiece import WordPieces, build_word_pieces

LONGEST_NAME = 60  # Bytes of `in_file_name`.


def build_words(
    config: Config, referents: Iterable[Referent], cache_dir: str | Path | None = None
) -> WordTable | WordPieces:
    """Builds what encodes the expressions of a data set: word vectors or word pieces.

    Args:
        config: `config.schema.Config`; its `text_input` selects one of the two.
        referents: `data.loading.annotations.Referent`s whose expressions will be encoded.
        cache_dir: folder where finished tables of word vectors are kept.

    Returns:
        Object with `encode(expression, word_len)` → int32 (T,) and `lookup(ids)`: integers
        (..., T) → float32 (..., T, D) word vectors or the int32 ids themselves, whichever the
        input "words" of `build_mcn` takes.

    Raises:
        UserError, OSError: the word vectors or the BERT folder cannot be read.
    """
    if config.text_input == "pieces":
        return build_word_pieces(config.bert_path)
    return build_word_table(
        config.word_embed, vocabulary_of(referents), config.embed_dim, cache_dir=cache_dir
    )


def words_contents(config: Config, words: object) -> dict[str, str]:
    """The key of the source of words that the text encoder reads, with a checksum of what it reads.

    Of word vectors, those of the vocabulary count: a whole file of several GB would delay each
    start. Of a BERT, its vocabulary and architecture count, since its weights are part of those of
    the network.

    Args:
        config: the settings.
        words: of `build_words`.

    Raises:
        ConfigError: the BERT folder cannot be used.
    """
    if isinstance(words, WordTable):
        return {"word_embed": words.checksum()}
    return {"bert_path": read_bert_folder(config.bert_path).checksum()}


def check_expressions(expressions: Iterable[str]) -> None:
    """Raises UserError if one of the expressions has no words or is no text."""
    for expression in expressions:
        if not isinstance(expression, str):
            raise UserError(f"an expression must be text, not {repr(expression)[:40]}")
        if not expression.split():
            raise UserError("an expression is empty: describe the object to locate")
        if "\0" in expression or any("\ud800" <= letter <= "\udfff" for letter in expression):
            raise UserError(
                f"the expression {expression[:40]!a} contains NUL or half of a surrogate pair: "
                "remove them"
            )


def in_file_name(expression: str) -> str:
    """The letters and digits of an expression, with "-" between words: "the-woman-s-hat".

    At most `LONGEST_NAME` bytes; empty if there are none.
    """
    text = unicodedata.normalize("NFC", expression).lower()
    words = re.sub(r"[\W_]+", "-", text).strip("-").encode()
    return words[:LONGEST_NAME].decode("utf-8", "ignore").rstrip("-")


@dataclass(frozen=True)
class Reading:
    """Expressions as network input, and the words that the network does not see.

    Attributes:
        inputs: (K, T, D) float32 word vectors or (K, T) int32 word pieces.
        unknown: per expression, the words without a vector or word piece.
        unread: per expression, the words beyond the first T.
    """

    inputs: np.ndarray
    unknown: list[tuple[str, ...]]
    unread: list[tuple[str, ...]]


class ExpressionReader:
    """Reads expressions of an open vocabulary, unlike `build_words`.

    Args:
        config: `config.schema.Config`.

    Raises:
        UserError, OSError: the word vectors or the BERT folder cannot be read.
    """

    def __init__(self, config: Config) -> None:
        self.word_len = config.word_len
        self._table: Callable[[Sequence[str]], WordTable | WordPieces]
        if config.text_input == "pieces":
            pieces = build_word_pieces(config.bert_path)
            self._table = lambda _: pieces
        else:
            supply = WordSupply(config.word_embed, config.embed_dim)
            self._table = lambda expressions: supply.table(map(self._read_words, expressions))

    def read(self, expressions: Sequence[str]) -> Reading:
        """Turns one or more expressions into network input.

        Raises:
            UserError: as `check_expressions`.
        """
        check_expressions(expressions)
        table = self._table(expressions)
        ids = np.stack([table.encode(expression, self.word_len) for expression in expressions])
        unknown, unread = zip(
            *(unseen_words(table, text, self.word_len) for text in expressions), strict=True
        )
        return Reading(table.lookup(ids), list(unknown), list(unread))

    def _read_words(self, expression):
        """The part of an expression that the network sees; only its words are looked up."""
        return " ".join(tokenize(expression)[: self.word_len])


def unseen_words(
    words: object, expression: str, word_len: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of an expression that the network does not see.

    Args:
        words: of `build_words`; nothing is known about any other object.
        expression: the expression.
        word_len: number of words, or word pieces, that are read.

    Returns:
        The words among those read that have no vector or word piece, and the words beyond the first
        `word_len`. A word counts as read if all of its pieces are.
    """
    if isinstance(words, WordPieces):
        return _unseen_of_pieces(words, expression, word_len)
    if not isinstance(words, WordTable):
        return (), ()
    tokens = tokenize(expression)
    read, unread = tokens[:word_len], tokens[word_len:]
    return tuple(word for word in read if word not in words.index), tuple(unread)


def _unseen_of_pieces(pieces, expression, word_len):
    words = tokenize(expression)
    room = word_len - 2  # [CLS] and [SEP] occupy two of the positions.
    unknown: list[str] = []
    for n_read, word in enumerate(words):
        ids = pieces.pieces(word)
        room -= len(ids)
        if room < 0:
            return tuple(unknown), tuple(words[n_read:])
        if pieces.unknown_id in ids:
            unknown.append(word)
    return tuple(unknown), ()


def words_text(words: object) -> str:
    """How many words of a set have no vector: "; 57 of 126 words have no vector", or nothing."""
    if not isinstance(words, WordTable) or not words.unknown:
        return ""
    count = len(words.index) + words.n_unknown
    have = "has" if words.n_unknown == 1 else "have"
    return f"; {words.n_unknown:,} of {count:,} words {have} no vector, see data/check.py"
