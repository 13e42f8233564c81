"""Expressions to the word-piece ids that BERT reads, with KerasHub's tokenizer."""

import functools
import os
from typing import Any

import numpy as np

from config.bert.folder import import_keras_hub, read_bert_folder
from config.errors import UserError

SHORTEST = 3  # [CLS], one piece, [SEP]
CACHED_EXPRESSIONS = 1 << 18  # more than any data set has


class WordPieces:
    """Encodes expressions for BERT; the counterpart of `data.text.vectors.WordTable`.

    Args:
        tokenizer: `keras_hub.models.BertTokenizer`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.unknown_id = tokenizer.token_to_id(tokenizer.oov_token)
        # Expressions recur in every epoch, and tokenizing one takes 0.1 ms.
        self._tokenize = functools.lru_cache(CACHED_EXPRESSIONS)(tokenizer.tokenize)

    def pieces(self, expression: str) -> np.ndarray:
        """Ids of all word pieces of an expression, without [CLS] and [SEP]: (P,) int32."""
        return np.asarray(self._tokenize(expression), np.int32).reshape(-1)

    def encode(self, expression: str, word_len: int) -> np.ndarray:
        """Ids of [CLS], the first `word_len` − 2 word pieces and [SEP].

        Returns:
            (word_len,) int32; 0, the id of [PAD], after the end of the expression.

        Raises:
            UserError: word_len leaves no room for a word piece.
        """
        if word_len < SHORTEST:
            raise UserError(
                f"word_len = {word_len}: must be at least {SHORTEST} with text_encoder=bert, since "
                "[CLS] and [SEP] are counted as well"
            )
        pieces = self.pieces(expression)[: word_len - 2]
        ids = np.zeros(word_len, np.int32)
        ids[0] = self.tokenizer.cls_token_id
        ids[1 : 1 + len(pieces)] = pieces
        ids[1 + len(pieces)] = self.tokenizer.sep_token_id
        return ids

    def lookup(self, ids: np.ndarray) -> np.ndarray:
        """The ids themselves, which are the network's input: integers (..., T) → int32."""
        return np.asarray(ids, np.int32)


def build_word_pieces(bert_path: str | os.PathLike) -> WordPieces:
    """Builds the encoder of expressions for a BERT checkpoint.

    Args:
        bert_path: folder, see `config.bert.folder`; its weights are not needed. A KerasHub preset
            is tokenized according to its tokenizer.json. For uncased checkpoints in Google's
            format, expressions are converted to lower case and stripped of accents.

    Raises:
        ConfigError: the folder lacks files or contains others, or KerasHub is not installed.
    """
    folder = read_bert_folder(bert_path)
    bert_tokenizer = import_keras_hub().models.BertTokenizer
    if folder.original:
        tokenizer = bert_tokenizer(
            vocabulary=list(folder.vocabulary),
            lowercase=folder.lowercase,
            strip_accents=folder.lowercase,
        )
    else:
        tokenizer = bert_tokenizer.from_preset(str(folder.path), sequence_length=None)
    return WordPieces(tokenizer)
