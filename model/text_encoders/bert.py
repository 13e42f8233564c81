"""BERT as the text branch: fq is the sum of the [CLS] vectors of the last four layers.

keras-hub provides the transformer; it is imported when a BERT is built and not before.
`model.weights.bert` fills it from a pretrained checkpoint.
"""

import keras
from keras import ops

from config.bert_folder import ConfigError, import_keras_hub, read_bert_folder

LAYERS_SUMMED = 4
PADDING_ID = 0


@keras.saving.register_keras_serializable("mcn")
class BertEncoder(keras.layers.Layer):
    """Word-piece ids → Σ of the [CLS] vectors after each of the last four layers.

    A BERT with fewer than four layers gives the sum over all of them. While the layer is frozen
    its dropout is off and nothing is differentiated.

    Args:
        architecture: dict of arguments of `keras_hub.models.BertBackbone`.
    """

    def __init__(self, architecture, **kwargs):
        super().__init__(**kwargs)
        self.architecture = dict(architecture)
        backbone = import_keras_hub().models.BertBackbone(**architecture, dtype=self.dtype_policy)
        # The pooler behind the last layer has no part in fq and is left out.
        states = [layer.output for layer in backbone.transformer_layers[-LAYERS_SUMMED:]]
        self.transformer = keras.Model(backbone.input, states, name="transformer")
        self.transformer.trainable = self.trainable

    def call(self, ids, training=None):
        """(N, T) int32, 0 where the expression has ended → (N, hidden_dim)."""
        inputs = {
            "token_ids": ids,
            "segment_ids": ops.zeros_like(ids),
            "padding_mask": ops.cast(ops.not_equal(ids, PADDING_ID), "int32"),
        }
        states = self.transformer(inputs, training=bool(training) and self.trainable)
        fq = sum(state[:, 0] for state in states)
        return fq if self.trainable else ops.stop_gradient(fq)

    def compute_output_shape(self, ids_shape):
        return (ids_shape[0], self.architecture["hidden_dim"])

    def get_config(self):
        return {**super().get_config(), "architecture": dict(self.architecture)}


def build_bert_branch(ids, bert_path, trainable=False):
    """The language feature fq of a BERT with random weights; `load_bert` fills it.

    Args:
        ids: (N, T) int32 word pieces of `data.text.wordpiece`.
        bert_path: folder of the checkpoint, whose settings give the architecture.
        trainable: whether BERT is fine-tuned.

    Returns:
        fq (N, hidden_dim).

    Raises:
        ConfigError: the folder cannot be used, T exceeds the positions that this BERT knows, or
            keras-hub is not installed.
    """
    folder = read_bert_folder(bert_path)
    longest = folder.architecture["max_sequence_length"]
    if ids.shape[1] > longest:
        raise ConfigError(f"word_len = {ids.shape[1]}: the BERT in {bert_path} reads {longest}")
    layer = BertEncoder(folder.architecture, name="bert", trainable=trainable)
    return keras.layers.Identity(name="fq")(layer(ids))
