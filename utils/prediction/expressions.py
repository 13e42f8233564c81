"""What turns expressions into the network's input, as a config says."""

from dataclasses import dataclass

import numpy as np

from data.text.vectors import WordSupply, build_word_table, tokenize, vocabulary_of


def build_words(config, referents, cache_dir=None):
    """Word vectors, or the word pieces of a BERT with use_bert.

    Args:
        config: `config.schema.Config`.
        referents: `data.loading.annotations.Referent`s whose expressions will be read.
        cache_dir: folder where finished word vectors are kept.

    Returns:
        Object with `encode(expression, word_len)` → int32 (T,) and `lookup(ids)`: integers
        (..., T) → float32 (..., T, D) word vectors or the int32 ids themselves, whichever the
        input "words" of `build_mcn` takes.
    """
    if config.use_bert:
        from data.text.wordpiece import build_word_pieces

        return build_word_pieces(config.bert_path)
    return build_word_table(
        config.word_embed, vocabulary_of(referents), config.embed_dim, cache_dir=cache_dir
    )


@dataclass(frozen=True)
class Reading:
    """Expressions as the network takes them, and what of them it does not see.

    Attributes:
        inputs: (K, T, D) float32 word vectors or (K, T) int32 word pieces.
        unknown: for each expression, its words that say nothing to the network.
        unread: for each expression, its words beyond those that are read.
    """

    inputs: np.ndarray
    unknown: list[tuple[str, ...]]
    unread: list[tuple[str, ...]]


class ExpressionReader:
    """Reads expressions that nobody listed beforehand, as a config says.

    Args:
        config: `config.schema.Config`.

    Raises:
        ConfigError, FileNotFoundError, ValueError: words or BERT cannot be read.
    """

    def __init__(self, config):
        self.word_len = config.word_len
        self._pieces = build_words(config, []) if config.use_bert else None
        self._supply = None if config.use_bert else WordSupply(config.word_embed, config.embed_dim)

    def read(self, expressions):
        """A `Reading` of one or more expressions."""
        table = self._pieces or self._supply.table(expressions)
        ids = np.stack([table.encode(expression, self.word_len) for expression in expressions])
        split = self._split_pieces if self._pieces else self._split_words
        unknown, unread = zip(
            *(split(table, expression) for expression in expressions), strict=True
        )
        return Reading(table.lookup(ids), list(unknown), list(unread))

    def _split_words(self, table, expression):
        words = tokenize(expression)
        read = words[: self.word_len]
        return tuple(word for word in read if word not in table.index), tuple(
            words[self.word_len :]
        )

    def _split_pieces(self, pieces, expression):
        """The same for BERT; a word counts as read if all of its pieces are."""
        words = tokenize(expression)
        of_word = [pieces.pieces(word) for word in words]
        ends = np.cumsum([len(ids) for ids in of_word])
        # [CLS] and [SEP] take two of the places.
        count = int(np.searchsorted(ends, self.word_len - 2, side="right"))
        unknown = (
            word
            for word, ids in zip(words[:count], of_word, strict=False)
            if pieces.unknown_id in ids
        )
        return tuple(unknown), tuple(words[count:])
