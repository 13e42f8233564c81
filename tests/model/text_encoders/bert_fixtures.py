"""Tiny random BERTs in the layout of Google's checkpoints, and BERT itself in NumPy."""

import json

import numpy as np

SETTINGS = {
    "vocab_size": 0,  # filled in
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
SPECIAL = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "man", "##s", "left", "##most", "red", "circle", "t", "shirt", "cafe", ",", "-"]
LETTERS = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
VOCABULARY = [*SPECIAL, *WORDS, *(piece for piece in LETTERS if piece not in WORDS)]


def original_tensors(settings, seed=0):
    """The tensors of a pretrained checkpoint by name: BERT, its pooler and a pretraining head."""
    rng = np.random.default_rng(seed)
    width, inner = settings["hidden_size"], settings["intermediate_size"]
    tensors = {}

    def add(name, *shape):
        tensors[name] = rng.normal(0.0, 0.3, shape).astype(np.float32)

    def dense(name, rows, columns):
        add(f"{name}/kernel", rows, columns)
        add(f"{name}/bias", columns)

    def norm(name):
        add(f"{name}/gamma", width)
        add(f"{name}/beta", width)

    add("bert/embeddings/word_embeddings", settings["vocab_size"], width)
    add("bert/embeddings/position_embeddings", settings["max_position_embeddings"], width)
    add("bert/embeddings/token_type_embeddings", settings["type_vocab_size"], width)
    norm("bert/embeddings/LayerNorm")
    for index in range(settings["num_hidden_layers"]):
        layer = f"bert/encoder/layer_{index}"
        for part in ("query", "key", "value"):
            dense(f"{layer}/attention/self/{part}", width, width)
        dense(f"{layer}/attention/output/dense", width, width)
        norm(f"{layer}/attention/output/LayerNorm")
        dense(f"{layer}/intermediate/dense", width, inner)
        dense(f"{layer}/output/dense", inner, width)
        norm(f"{layer}/output/LayerNorm")
    dense("bert/pooler/dense", width, width)
    add("cls/seq_relationship/output_weights", 2, width)
    return tensors


def write_tensors(folder, tensors):
    """Writes bert_model.ckpt.{index,data-00000-of-00001}, a checkpoint of named tensors."""
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(folder / "bert_model.ckpt"),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(values) for values in tensors.values()],
    )


def write_settings(folder, vocabulary=VOCABULARY, **changes):
    """Writes bert_config.json and vocab.txt; returns the settings."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**SETTINGS, "vocab_size": len(vocabulary), **changes}
    (folder / "bert_config.json").write_text(json.dumps(settings), encoding="utf-8")
    text = "".join(piece + "\n" for piece in vocabulary)
    (folder / "vocab.txt").write_text(text, encoding="utf-8")
    return settings


def write_original(folder, vocabulary=VOCABULARY, seed=0, **changes):
    """A complete folder as in Google's archives. Returns (settings, tensors)."""
    settings = write_settings(folder, vocabulary, **changes)
    tensors = original_tensors(settings, seed)
    write_tensors(folder, tensors)
    return settings, tensors


def write_preset(folder, seed=0, **changes):
    """A preset written by keras-hub itself, with random weights. Returns its backbone."""
    import keras_hub

    arguments = {
        "vocabulary_size": len(VOCABULARY),
        "num_layers": 4,
        "num_heads": 4,
        "hidden_dim": 32,
        "intermediate_dim": 48,
        "max_sequence_length": 24,
    }
    backbone = keras_hub.models.BertBackbone(**{**arguments, **changes})
    rng = np.random.default_rng(seed)
    for variable in backbone.weights:
        variable.assign(rng.normal(0.0, 0.3, variable.shape))
    backbone.save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(VOCABULARY, lowercase=True).save_to_preset(str(folder))
    return backbone


def bert_in_numpy(tensors, settings, ids):
    """The hidden states after every layer, as the BERT paper defines them.

    GELU is the approximation by tanh that Google's implementation has.

    Args:
        tensors: by the names of Google's checkpoints.
        ids: (N, T) integers, 0 where the expression has ended.

    Returns:
        List of (N, T, width) float64, one a layer.
    """
    heads = settings["num_attention_heads"]

    def dense(x, name):
        return x @ tensors[f"{name}/kernel"].astype(np.float64) + tensors[f"{name}/bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * tensors[f"{name}/gamma"] + tensors[f"{name}/beta"]

    def split(x):  # (N, T, width) → (N, heads, T, width / heads)
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    def attention(x, name):
        query, key, value = (split(dense(x, f"{name}/self/{p}")) for p in ("query", "key", "value"))
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
        scores = np.where((ids == 0)[:, None, None, :], -np.inf, scores)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = weights / weights.sum(-1, keepdims=True) @ value
        return dense(mixed.transpose(0, 2, 1, 3).reshape(x.shape), f"{name}/output/dense")

    x = tensors["bert/embeddings/word_embeddings"][ids].astype(np.float64)
    x = x + tensors["bert/embeddings/position_embeddings"][: ids.shape[1]]
    x = norm(x + tensors["bert/embeddings/token_type_embeddings"][0], "bert/embeddings/LayerNorm")
    states = []
    for index in range(settings["num_hidden_layers"]):
        layer = f"bert/encoder/layer_{index}"
        x = norm(x + attention(x, f"{layer}/attention"), f"{layer}/attention/output/LayerNorm")
        inner = dense(x, f"{layer}/intermediate/dense")
        inner *= 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = norm(x + dense(inner, f"{layer}/output/dense"), f"{layer}/output/LayerNorm")
        states.append(x)
    return states
