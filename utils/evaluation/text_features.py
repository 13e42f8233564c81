"""Text features of expressions during an evaluation."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from data.loading.pipeline import Words
from utils.prediction.grounder import Grounder

EXPRESSIONS_KEPT = 4096


def in_batches(
    function: Callable[..., Sequence[np.ndarray | tf.Tensor]],
    arrays: Sequence[np.ndarray],
    size: int,
    fill: bool,
) -> list[np.ndarray]:
    """Calls a function on the rows of arrays, `size` at a time.

    Args:
        function: of arrays with the same number of rows; returns arrays with as many rows.
        arrays: each (M, ...), M > 0.
        size: rows per call.
        fill: whether to repeat the last row until the last call has `size` rows too, because XLA
            compiles once per size.

    Returns:
        The results, each (M, ...).
    """
    count, parts = len(arrays[0]), []
    for start in range(0, count, size):
        batch = [array[start : start + size] for array in arrays]
        rows = len(batch[0])
        if fill and rows < size:
            batch = [np.concatenate([a, np.repeat(a[-1:], size - rows, axis=0)]) for a in batch]
        parts.append([np.asarray(result)[:rows] for result in function(*batch)])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


class TextFeatureCache:
    """Encodes expressions, each once while it is among the latest `EXPRESSIONS_KEPT`.

    Args:
        grounder: the network.
        words: encodes expressions as its input.
        word_len: number of words that are read per expression.
        batch_size: expressions that are encoded at once.
    """

    def __init__(
        self, grounder: Grounder, words: Words, word_len: int, batch_size: int = 8
    ) -> None:
        self.grounder, self.words = grounder, words
        self.word_len, self.batch_size = word_len, batch_size
        # Word ids → one row of each text feature.
        self._rows: dict[bytes, tuple[np.ndarray, ...]] = {}

    def of(self, expressions: Sequence[str]) -> list[np.ndarray]:
        """Text features of M expressions, each (M, ...)."""
        ids = [self.words.encode(expression, self.word_len) for expression in expressions]
        keys = [row.tobytes() for row in ids]
        new = {key: row for key, row in zip(keys, ids, strict=True) if key not in self._rows}
        if new:
            encoded = in_batches(
                lambda ids: self.grounder.encode_words(self.words.lookup(ids)),
                [np.stack(list(new.values()))],
                self.batch_size,
                fill=self.grounder.jit_compile,
            )
            self._rows.update(zip(new, zip(*encoded, strict=True), strict=True))
        rows = [self._rows[key] for key in keys]
        features = [np.stack(column) for column in zip(*rows, strict=True)]
        for key in list(self._rows)[:-EXPRESSIONS_KEPT]:
            del self._rows[key]
        return features
