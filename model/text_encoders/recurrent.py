"""Text branch, section 3.1 of the paper: word vectors to one vector of the expression."""

import keras
from keras import ops

from model.layers.blocks import hard_sigmoid
from model.layers.recurrence import GRU, LSTM


@keras.saving.register_keras_serializable("mcn")
class AttentionOverTime(keras.layers.Layer):
    """Σ_t h·softmax_t(score), the softmax per channel over all T words, padding included."""

    def call(self, sequence, score):
        """(N, T, d), (N, T, d) → (N, d)."""
        weights = ops.softmax(ops.cast(score, "float32"), axis=1)
        return ops.sum(sequence * ops.cast(weights, sequence.dtype), axis=1)


def build_text_branch(
    words, cell="lstm", units=1024, bidirectional=True, attention=True, dropout=0.1
):
    """The language feature fq.

    Args:
        words: (N, T, D) word vectors, padded with zero rows.
        cell: "lstm" or "gru", both with the gates of Keras 2.2.4.
        units: width of the recurrent cell.
        bidirectional: read both ways and sum the two directions.
        attention: attention over all T words; without it, zero rows are masked and the last
            output counts.
        dropout: rate on the inputs of the cell and on the attention scores.

    Returns:
        fq (N, units).
    """
    # With attention the whole sequence goes on and padding is read like words, as published.
    kwargs = {
        "recurrent_activation": hard_sigmoid,
        "dropout": dropout,
        "return_sequences": bool(attention),
    }
    recurrent = {"gru": GRU, "lstm": LSTM}[cell](units, name=cell, **kwargs)
    if bidirectional:
        recurrent = keras.layers.Bidirectional(recurrent, merge_mode="sum", name="text_rnn")
    else:
        recurrent.name = "text_rnn"
    if not attention:
        words = keras.layers.Masking(0.0, name="text_mask")(words)
        return keras.layers.Identity(name="fq")(recurrent(words))
    sequence = recurrent(words)  # (N, T, units)
    score = keras.layers.Dense(units, activation="tanh", name="text_attention")(sequence)
    score = keras.layers.Dropout(dropout, name="text_dropout")(score)
    return AttentionOverTime(name="fq")(sequence, score)
