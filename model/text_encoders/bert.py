"""BERT as the text encoder: fq is the sum of the [CLS] vectors of the last four layers.

keras-hub provides the transformer; it is imported only when a BERT is built.
`model.weights.bert` fills it from a pretrained checkpoint.
"""

import os
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from config.bert.folder import import_keras_hub, read_bert_folder
from config.errors import ConfigError
from config.schema import Config
from model.text_encoders.registry import TextEncoder, register_text_encoder

LAYERS_SUMMED = 4
PADDING_ID = 0


@keras.saving.register_keras_serializable("mcn")
class BertEncoder(keras.layers.Layer):
    """Word-piece ids → Σ of the [CLS] vectors of the last four layers.

    A BERT with fewer than four layers gives the sum over all of them. A frozen layer runs
    without dropout and without gradients.

    Args:
        architecture: arguments of `keras_hub.models.BertBackbone`.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, architecture: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = dict(architecture)
        backbone = import_keras_hub().models.BertBackbone(**architecture, dtype=self.dtype_policy)
        # The pooler behind the last layer is not part of fq and is left out.
        states = [layer.output for layer in backbone.transformer_layers[-LAYERS_SUMMED:]]
        self.transformer = keras.Model(backbone.input, states, name="transformer")
        self.transformer.trainable = self.trainable

    def call(self, ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """(N, T) int32, 0 behind the end of the expression → (N, hidden_dim)."""
        inputs = {
            "token_ids": ids,
            "segment_ids": ops.zeros_like(ids),
            "padding_mask": ops.cast(ops.not_equal(ids, PADDING_ID), "int32"),
        }
        states = self.transformer(inputs, training=bool(training) and self.trainable)
        fq = sum(state[:, 0] for state in states)
        return fq if self.trainable else ops.stop_gradient(fq)

    def compute_output_shape(self, ids_shape: tuple) -> tuple[int | None, int]:
        return (ids_shape[0], self.architecture["hidden_dim"])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "architecture": dict(self.architecture)}


@register_text_encoder("bert")
def build_bert(config: Config) -> TextEncoder:
    """BERT on (N, word_len) int32 ids of the word pieces of `data.text.wordpiece`."""
    ids = keras.Input((config.word_len,), name="words", dtype="int32")
    fq = build_language_feature(ids, config.bert_path, bool(config.bert_trainable))
    return TextEncoder(ids, {"fq": fq})


def build_language_feature(
    ids: keras.KerasTensor, bert_path: str | os.PathLike, trainable: bool = False
) -> keras.KerasTensor:
    """The language feature fq of a BERT with random weights; `model.weights` fills it.

    Args:
        ids: (N, T) int32 word pieces.
        bert_path: folder of the checkpoint, whose settings define the architecture.
        trainable: whether BERT is fine-tuned.

    Returns:
        fq (N, hidden_dim).

    Raises:
        ConfigError: the folder cannot be used, T exceeds the number of positions of this BERT,
            or keras-hub is not installed.
    """
    folder = read_bert_folder(bert_path)
    longest = folder.architecture["max_sequence_length"]
    if ids.shape[1] > longest:
        raise ConfigError(f"word_len = {ids.shape[1]}: the BERT in {bert_path} reads {longest}")
    layer = BertEncoder(folder.architecture, name="bert", trainable=trainable)
    return keras.layers.Identity(name="fq")(layer(ids))
