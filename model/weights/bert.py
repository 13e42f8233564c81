"""Pretrained BERT checkpoints: Google's TensorFlow 1 files, and presets of keras-hub."""

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from config.bert.checkpoint_index import CheckpointIndexError, check_index
from config.bert.folder import BertFolder, read_bert_folder
from model.text_encoders.bert import BertEncoder
from model.weights.hdf5.content import FETCH_AGAIN, WeightsError, listed, open_hdf5
from model.weights.hdf5.layers import own_arrays, shapes_text
from model.weights.native import layer_groups, match_layers
from model.weights.transfer import LoadReport, Match, Transfer, fill

# Parts of the names of our variables, and their counterparts in Google's checkpoints.
RENAMED = (
    ("token_embedding/embeddings", "bert/embeddings/word_embeddings"),
    ("position_embedding/embeddings", "bert/embeddings/position_embeddings"),
    ("segment_embedding/embeddings", "bert/embeddings/token_type_embeddings"),
    ("embeddings_layer_norm/", "bert/embeddings/LayerNorm/"),
    ("transformer_layer_", "bert/encoder/layer_"),
    ("self_attention_layer/attention_output/", "attention/output/dense/"),
    ("self_attention_layer/", "attention/self/"),
    ("self_attention_layer_norm/", "attention/output/LayerNorm/"),
    ("feedforward_intermediate_dense/", "intermediate/dense/"),
    ("feedforward_output_dense/", "output/dense/"),
    ("feedforward_layer_norm/", "output/LayerNorm/"),
)
# Variables under bert/ in Google's checkpoints that fq does not depend on.
POOLER, OPTIMIZER_SLOTS = "bert/pooler/", ("/adam_m", "/adam_v")
# The same layer in the weight file of a preset.
PRESET_POOLER = "dense"
OTHER_CHECKPOINT = "the files are of different checkpoints"


def has_bert(model: keras.Model) -> bool:
    """Whether the text encoder of a network is a BERT."""
    return any(isinstance(layer, BertEncoder) for layer in model.layers)


def load_bert(model: keras.Model, bert_path: str | os.PathLike) -> LoadReport:
    """Fills the BERT of a network from a pretrained checkpoint, completely.

    Args:
        model: network of `build_mcn` with the text encoder "bert".
        bert_path: folder of the checkpoint, see `config.bert.folder`.

    Returns:
        LoadReport; its `unused` lists what else the checkpoint holds: the pooler, the heads of
        pretraining, and optimizer slots.

    Raises:
        ConfigError: files are missing.
        WeightsError: an array is missing, unknown, unreadable or has another shape; the message
            names it and the file. Nothing was assigned then.
    """
    folder = read_bert_folder(bert_path, weights=True)
    encoder = next(layer for layer in model.layers if isinstance(layer, BertEncoder))
    transformer, path = encoder.transformer, folder.checkpoint
    if folder.original:
        return fill(_match_original(transformer, folder), path, transformer.layers)
    with open_hdf5(path) as file:
        return fill(_match_preset(transformer, file, path), path, transformer.layers)


@dataclass(frozen=True)
class _CheckpointArray:
    """A tensor of a TensorFlow checkpoint, read on demand and in the shape of our variable."""

    reader: Any
    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, _: Any) -> np.ndarray:
        try:
            return self.reader.get_tensor(self.name).reshape(self.shape)
        except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
            raise WeightsError(
                f"{self.path}: {self.name} cannot be read, because the data file is damaged or "
                f"truncated ({_first_line(error)}); {FETCH_AGAIN}"
            ) from None


def _match_original(transformer: keras.Model, folder: BertFolder) -> Match:
    path = folder.checkpoint
    reader = _open_checkpoint(path)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    variables = {
        original_name(layer, variable): (layer, variable)
        for layer in transformer.layers
        for variable in layer.weights
    }
    _check_names(shapes, variables, path)
    transfers = []
    for name, (layer, variable) in variables.items():
        ours, theirs = original_shape(variable), tuple(shapes[name])
        if theirs != ours:
            raise WeightsError(
                f"{path}: {name} is {shapes_text([theirs])}, but {shapes_text([ours])} according "
                f"to bert_config.json of the same folder: {OTHER_CHECKPOINT}"
            )
        dtype = np.dtype(dtypes[name].as_numpy_dtype)
        array = _CheckpointArray(reader, path, name, tuple(variable.shape), dtype)
        transfers.append(Transfer(name, f"bert/{layer.name}", array, (variable,)))
    return Match("BERT of Google", transfers, sorted(set(shapes) - set(variables)))


def _open_checkpoint(path: Path) -> Any:
    try:
        check_index(f"{path}.index")
    except CheckpointIndexError as error:
        raise WeightsError(f"{path}.index: {error}; {FETCH_AGAIN}") from None
    try:
        return tf.train.load_checkpoint(str(path))
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{path}.index: is not a TensorFlow checkpoint or is damaged ({_first_line(error)}); "
            f"{FETCH_AGAIN}"
        ) from None


def _check_names(names: Collection[str], variables: Collection[str], path: Path) -> None:
    """Checks that the checkpoint has every variable, and no further one of a larger BERT."""
    absent = [name for name in variables if name not in names]
    if absent and any(name.endswith("/.ATTRIBUTES/VARIABLE_VALUE") for name in names):
        raise WeightsError(
            f"{path}: is an object checkpoint of TensorFlow 2; use the files of TensorFlow 1, see "
            "data/README.md"
        )
    if absent:
        raise WeightsError(
            f"{path}: lacks {listed(absent)}, which bert_config.json of the same folder requires: "
            f"{OTHER_CHECKPOINT}, or the checkpoint is incomplete"
        )
    extra = [
        name
        for name in sorted(set(names) - set(variables))
        if name.startswith("bert/")
        and not name.startswith(POOLER)
        and not name.endswith(OPTIMIZER_SLOTS)
    ]
    if extra:
        raise WeightsError(
            f"{path}: holds {listed(extra)}, which the BERT of bert_config.json in the same folder "
            f"lacks: {OTHER_CHECKPOINT}"
        )


def original_name(layer: keras.layers.Layer, variable: keras.Variable) -> str:
    """Name of a variable in Google's checkpoints: bert/encoder/layer_0/output/dense/kernel."""
    name = variable.path[variable.path.rindex(f"{layer.name}/") :]
    for ours, theirs in RENAMED:
        name = name.replace(ours, theirs)
    return name


def original_shape(variable: keras.Variable) -> tuple[int, ...]:
    """Shape of a variable in Google's checkpoints, where heads and their channels are one axis."""
    shape, kind = tuple(variable.shape), variable.path.rpartition("/")[2]
    if kind == "kernel" and len(shape) == 3:
        from_heads = variable.path.endswith("attention_output/kernel")
        return (shape[0] * shape[1], shape[2]) if from_heads else (shape[0], shape[1] * shape[2])
    return (shape[0] * shape[1],) if kind == "bias" and len(shape) == 2 else shape


def _match_preset(transformer: keras.Model, file: h5py.File, path: Path) -> Match:
    """Matches the weight file of a preset, whose groups Keras names by class and count."""
    names = dict(zip(_group_names(transformer.layers), transformer.layers, strict=True))
    groups = {group.name.rpartition("/")[2]: group for group in layer_groups(file).values()}
    pooler = groups.pop(PRESET_POOLER, None)
    layers = {name: layer for name, layer in names.items() if layer.weights}
    absent = [name for name in layers if name not in groups]
    extra = [name for name in groups if name not in layers]
    if absent or extra:
        raise WeightsError(
            f"{path}: does not hold the BERT that config.json of the same folder describes"
            + (f"; it lacks {listed(absent)}" if absent else "")
            + (f"; it holds {listed(extra)}, which that BERT lacks" if extra else "")
            + f": {OTHER_CHECKPOINT}"
        )
    named = {layer.name: groups[name] for name, layer in layers.items()}
    unused = [] if pooler is None else [array.name.lstrip("/") for array in own_arrays(pooler)]
    transfers = match_layers(list(layers.values()), named, path)
    return Match("BERT of keras-hub", transfers, unused)


def _group_names(layers: Sequence[keras.layers.Layer]) -> list[str]:
    """The names of the groups in which Keras 3 stores layers: embedding, dense, dense_1, …"""
    names: list[str] = []
    counts: Counter[str] = Counter()
    for layer in layers:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        names.append(f"{name}_{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return names


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
