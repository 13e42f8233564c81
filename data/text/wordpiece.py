"""Expressions to the word-piece ids that BERT reads, through keras-hub's tokenizer."""

import numpy as np

from config.bert_folder import import_keras_hub, read_bert_folder

SHORTEST = 3  # [CLS], one piece, [SEP]


class WordPieces:
    """What `data.text.vectors.WordTable` is for word vectors: expression → ids → network input.

    Args:
        tokenizer: `keras_hub.models.BertTokenizer`.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.unknown_id = tokenizer.token_to_id(tokenizer.oov_token)
        self._pieces = {}  # Expressions come again every epoch; tokenising one takes 0.1 ms.

    def pieces(self, expression: str) -> np.ndarray:
        """Ids of all word pieces of an expression, without [CLS] and [SEP]: int32 (P,)."""
        if expression not in self._pieces:
            ids = np.asarray(self.tokenizer.tokenize(expression), np.int32)
            self._pieces[expression] = ids.reshape(-1)
        return self._pieces[expression]

    def encode(self, expression: str, word_len: int) -> np.ndarray:
        """Ids of [CLS], the first `word_len` − 2 pieces and [SEP].

        Returns:
            int32 (word_len,); 0, the id of [PAD], where the expression has ended.

        Raises:
            ValueError: word_len leaves no room for a piece.
        """
        if word_len < SHORTEST:
            raise ValueError(
                f"word_len = {word_len}: must be at least {SHORTEST} with use_bert, since [CLS] "
                "and [SEP] count as well"
            )
        pieces = self.pieces(expression)[: word_len - 2]
        ids = np.zeros(word_len, np.int32)
        ids[0] = self.tokenizer.cls_token_id
        ids[1 : 1 + len(pieces)] = pieces
        ids[1 + len(pieces)] = self.tokenizer.sep_token_id
        return ids

    def lookup(self, ids: np.ndarray) -> np.ndarray:
        """The ids themselves, which the network takes: integers (..., T) → int32 (..., T)."""
        return np.asarray(ids, np.int32)


def build_word_pieces(bert_path) -> WordPieces:
    """The word pieces of a BERT checkpoint.

    Args:
        bert_path: folder, see `config.bert_folder`; its weights are not needed. A preset is
            tokenised as its tokenizer.json says. With Google's files, an uncased BERT gets
            expressions in lower case and without accents, as it was trained.

    Raises:
        ConfigError: the folder lacks files or holds something else, or keras-hub is not installed.
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
