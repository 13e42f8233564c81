"""Pretrained BERT checkpoints: Google's, and presets of keras-hub."""

import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from config.bert_folder import import_keras_hub, read_bert_folder
from model.weights.hdf5 import FETCH_AGAIN, WeightsError, shapes_text
from model.weights.transfer import LoadReport, Transfer, fill

# Our names of variables, part by part, and those of Google's checkpoints.
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
# What Google's checkpoints hold under bert/ beside the layers that fq is made of.
POOLER, OPTIMIZER_SLOTS = "bert/pooler/", ("/adam_m", "/adam_v")
OTHER_CHECKPOINT = "the files are of different checkpoints"


def load_bert(model, bert_path):
    """Fills the BERT of a network from a pretrained checkpoint, completely.

    Args:
        model: network of `build_mcn` with use_bert.
        bert_path: folder of the checkpoint, see `config.bert_folder`.

    Returns:
        LoadReport; its `unused` names what the checkpoint holds beside these layers: the pooler,
        the heads of pretraining, an optimiser's slots.

    Raises:
        ConfigError: files are missing.
        WeightsError: an array is missing, too much, of another shape or unreadable; the message
            names it and the file. Then nothing was assigned.
    """
    folder = read_bert_folder(bert_path, weights=True)
    transformer = model.get_layer("bert").transformer
    if folder.original:
        kind, transfers, unused = "BERT of Google", *_original_transfers(transformer, folder)
    else:
        kind, transfers, unused = "BERT of keras-hub", *_preset_transfers(transformer, folder)
    return LoadReport(str(bert_path), kind, fill(transfers, folder.checkpoint), unused)


@dataclass(frozen=True)
class _CheckpointArray:
    """One tensor of a TensorFlow checkpoint: read when it is needed, in the shape of ours."""

    reader: object
    path: Path
    name: str
    shape: tuple
    dtype: np.dtype

    def __getitem__(self, _):
        import tensorflow as tf

        try:
            return self.reader.get_tensor(self.name).reshape(self.shape)
        except (tf.errors.OpError, RuntimeError, IndexError) as error:
            raise WeightsError(
                f"{self.path}: {self.name} cannot be read, the data file is damaged or cut off "
                f"({_first_line(error)}); {FETCH_AGAIN}"
            ) from None


def _original_transfers(transformer, folder):
    """(transfers that fill every variable, names of the tensors that have no place)."""
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
                f"{path}: {name} is {shapes_text([theirs])}, by bert_config.json beside it "
                f"{shapes_text([ours])}: {OTHER_CHECKPOINT}"
            )
        dtype = np.dtype(dtypes[name].as_numpy_dtype)
        array = _CheckpointArray(reader, path, name, tuple(variable.shape), dtype)
        transfers.append(Transfer(name, f"bert/{layer.name}", array, (variable,)))
    return transfers, sorted(set(shapes) - set(variables))


def _open_checkpoint(path):
    import tensorflow as tf

    try:
        return tf.train.load_checkpoint(str(path))
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{path}.index: no TensorFlow checkpoint, or damaged ({_first_line(error)}); "
            f"{FETCH_AGAIN}"
        ) from None


def _check_names(names, variables, path):
    """Raises WeightsError for tensors that are missing or have no place in the network."""
    absent = [name for name in variables if name not in names]
    if absent and any(name.endswith("/.ATTRIBUTES/VARIABLE_VALUE") for name in names):
        raise WeightsError(
            f"{path}: is an object checkpoint of TensorFlow 2; the files of TensorFlow 1 are "
            "needed, data/README.md says where to get them"
        )
    if absent:
        raise WeightsError(
            f"{path}: lacks {_some(absent)}, which bert_config.json beside it asks for: "
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
            f"{path}: holds {_some(extra)}, for which bert_config.json beside it leaves no place: "
            f"{OTHER_CHECKPOINT}"
        )


def original_name(layer, variable):
    """Name of a variable in Google's checkpoints, as bert/encoder/layer_0/output/dense/kernel."""
    name = variable.path[variable.path.rindex(f"{layer.name}/") :]
    for ours, theirs in RENAMED:
        name = name.replace(ours, theirs)
    return name


def original_shape(variable):
    """Its shape there: attention heads and their channels are one axis."""
    shape, kind = tuple(variable.shape), variable.path.rpartition("/")[2]
    if kind == "kernel" and len(shape) == 3:
        from_heads = variable.path.endswith("attention_output/kernel")
        return (shape[0] * shape[1], shape[2]) if from_heads else (shape[0], shape[1] * shape[2])
    return (shape[0] * shape[1],) if kind == "bias" and len(shape) == 2 else shape


def _preset_transfers(transformer, folder):
    """As `_original_transfers`, by way of the whole backbone that the preset was written from."""
    path = folder.checkpoint
    backbone = import_keras_hub().models.BertBackbone(**folder.architecture, dtype="float32")
    try:
        extra = _unknown_layers(path, backbone)
        backbone.load_weights(path)
    except Exception as error:  # Keras and h5py raise several types for a file that does not fit.
        raise WeightsError(
            f"{path}: does not hold the BERT that config.json beside it describes: {error}"
        ) from None
    if extra:
        raise WeightsError(
            f"{path}: holds {_some(extra)}, for which config.json beside it leaves no place: "
            f"{OTHER_CHECKPOINT}"
        )
    transfers = [
        Transfer(theirs.path, f"bert/{layer.name}", theirs.numpy(), (ours,))
        for layer in transformer.layers
        for ours, theirs in zip(layer.weights, backbone.get_layer(layer.name).weights, strict=True)
    ]
    return transfers, [variable.path for variable in backbone.pooled_dense.weights]


def _unknown_layers(path, backbone):
    """Layers of a Keras 3 file that a backbone lacks; Keras names them by class and count."""
    known, counts = set(), {}
    for layer in backbone.layers:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        counts[name] = counts.get(name, -1) + 1
        known.add(f"{name}_{counts[name]}" if counts[name] else name)
    with h5py.File(path, "r") as file:
        return sorted(set(file["layers"]) - known)


def _some(names, shown=3):
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" * (len(names) > shown))


def _first_line(error):
    return str(error).strip().splitlines()[0]
