"""Word vectors through a recurrent cell with attention, section 3.1 of the paper."""

import keras
import tensorflow as tf
from keras import ops

from config.schema import Config
from model.layers.dropout import Dropout
from model.layers.recurrence import GRU, LSTM, hard_sigmoid
from model.text_encoders.registry import TextEncoder, register_text_encoder

CELLS = {"gru": GRU, "lstm": LSTM}


@keras.saving.register_keras_serializable("mcn")
class AttentionOverTime(keras.layers.Layer):
    """Σ_t h·softmax_t(score): a softmax per channel over all T words, padding included."""

    def call(self, sequence: tf.Tensor, score: tf.Tensor) -> tf.Tensor:
        """(N, T, d), (N, T, d) → (N, d)."""
        return ops.sum(sequence * ops.cast(self.weights_of(score), sequence.dtype), axis=1)

    @staticmethod
    def weights_of(score: tf.Tensor) -> tf.Tensor:
        """(N, T, d) → (N, T, d) float32, which sum to one over the T words of each channel."""
        return ops.softmax(ops.cast(score, "float32"), axis=1)


@register_text_encoder("recurrent")
def build_recurrent(config: Config) -> TextEncoder:
    """The encoder of the paper, on (N, word_len, embed_dim) word vectors."""
    words = keras.Input((config.word_len, config.embed_dim), name="words", dtype="float32")
    fq = build_language_feature(
        words,
        cell=config.rnn_cell,
        units=config.rnn_hidden_size,
        bidirectional=bool(config.bidirectional),
        attention=bool(config.lang_att),
        dropout=config.rnn_drop_out,
    )
    return TextEncoder(words, {"fq": fq})


def build_language_feature(
    words: keras.KerasTensor,
    cell: str = "lstm",
    units: int = 1024,
    bidirectional: bool = True,
    attention: bool = True,
    dropout: float = 0.1,
) -> keras.KerasTensor:
    """The language feature fq.

    Args:
        words: (N, T, D) word vectors, padded with zero rows.
        cell: "lstm" or "gru", both with the gates of Keras 2.2.4.
        units: width of the recurrent cell.
        bidirectional: whether to read in both directions and sum the outputs.
        attention: attention over all T words; without it, zero rows are masked and the last
            output is fq.
        dropout: rate on the inputs of the cell and on the attention scores.

    Returns:
        fq (N, units).
    """
    # With attention the cell reads padding like words, as published.
    recurrent = CELLS[cell](
        units,
        name=cell,
        recurrent_activation=hard_sigmoid,
        dropout=dropout,
        return_sequences=attention,
    )
    if bidirectional:
        recurrent = keras.layers.Bidirectional(recurrent, merge_mode="sum", name="text_rnn")
    else:
        recurrent.name = "text_rnn"
    if not attention:
        words = keras.layers.Masking(0.0, name="text_mask")(words)
        return keras.layers.Identity(name="fq")(recurrent(words))
    sequence = recurrent(words)  # (N, T, units)
    score = keras.layers.Dense(units, activation="tanh", name="text_attention")(sequence)
    score = Dropout(dropout, name="text_dropout")(score)
    return AttentionOverTime(name="fq")(sequence, score)
