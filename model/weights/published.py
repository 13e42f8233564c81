"""Published MCN checkpoints: Keras 2 files of the training model.

Layers are matched by their order, which is that of the network. Their names do not help, because
Keras numbered layers starting from whatever had been built before.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from model.weights.hdf5.content import WeightsError, listed
from model.weights.hdf5.layers import FileLayer
from model.weights.keras_backbone import backbone_of_layers
from model.weights.layouts import mcn_slots
from model.weights.transfer import Match, check_backbone, check_shapes, layer_transfers

if TYPE_CHECKING:
    import keras

# Layers of kind "dense" apart from the attention over the words: fusion and two GARAN units.
DENSE_LAYERS = 9
CELL_OF_GATES = {3: "gru", 4: "lstm"}


@dataclass(frozen=True)
class TextSettings:
    """Config keys of the recurrent text encoder."""

    rnn_cell: str
    bidirectional: int
    lang_att: int
    rnn_hidden_size: int
    embed_dim: int

    def differences(self, ours: "TextSettings") -> list[str]:
        """The settings that turn `ours` into these, as "key=value"."""
        mine, others = asdict(self), asdict(ours)
        return [f"{key}={mine[key]}" for key in mine if mine[key] != others[key]]


def match_published(
    model: "keras.Model", layers: Sequence[FileLayer], path: str | os.PathLike
) -> Match:
    """Matches a checkpoint with the network, layer by layer.

    Args:
        model: network of `build_mcn` with a Darknet-53 or VGG-16 backbone.
        layers: layers of the file in its order.
        path: the file, for error messages.

    Returns:
        Match that fills every weight.

    Raises:
        WeightsError: the file holds another network; the message names the difference and the
            config keys.
    """
    check_backbone(backbone_of_published(layers), model.backbone.name, path)
    check_text_settings(text_settings_of_layers(layers), text_settings_of(model), path)
    slots = mcn_slots(model)
    for slot, layer in zip(slots, layers, strict=False):
        check_shapes(slot, layer, path)
    if len(slots) != len(layers):
        ours, theirs = [slot.layer for slot in slots], [layer.name for layer in layers]
        rest = ours[len(theirs) :] or theirs[len(ours) :]
        raise WeightsError(
            f"{path}: holds {len(theirs)} layers with weights and the network has {len(ours)}; "
            f"without counterpart: {listed(rest, 6)}"
        )
    transfers = []
    for slot, layer in zip(slots, layers, strict=True):
        transfers += layer_transfers(slot, layer)
    return Match("published MCN checkpoint", transfers)


def is_published(layers: Sequence[FileLayer]) -> bool:
    """Whether a file of other origin is a whole MCN, which has a recurrent layer."""
    return any(layer.kind == "rnn" for layer in layers)


def backbone_of_published(layers: Sequence[FileLayer]) -> str | None:
    """The backbone of a checkpoint, "darknet" or "vgg"; None if it has no convolutions."""
    return backbone_of_layers([layer for layer in layers if layer.kind == "conv"])


def text_settings(shapes: Sequence[Sequence[int]], attention: bool) -> TextSettings:
    """The settings of a recurrent text encoder with given arrays.

    Args:
        shapes: shapes of kernel, recurrent kernel and bias, for one direction after the other.
        attention: whether there is an attention over the words.
    """
    (embed_dim, _), (units, columns) = shapes[:2]
    cell = CELL_OF_GATES.get(columns // units, "unknown")
    return TextSettings(cell, int(len(shapes) > 3), int(attention), int(units), int(embed_dim))


def text_settings_of(model: "keras.Model") -> TextSettings | None:
    """The settings of a network; None if its text encoder is not recurrent."""
    layers = {layer.name: layer for layer in model.layers}
    if "text_rnn" not in layers:
        return None
    shapes = [tuple(variable.shape) for variable in layers["text_rnn"].weights]
    return text_settings(shapes, "text_attention" in layers)


def text_settings_of_layers(layers: Sequence[FileLayer]) -> TextSettings | None:
    """The settings of a checkpoint's text encoder; None if it has no recurrent layer."""
    recurrent = next((layer for layer in layers if layer.kind == "rnn"), None)
    if recurrent is None:
        return None
    attention = sum(1 for layer in layers if layer.kind == "dense") > DENSE_LAYERS
    return text_settings(recurrent.shapes(), attention)


def check_text_settings(
    theirs: TextSettings | None, ours: TextSettings | None, path: str | os.PathLike
) -> None:
    """Checks that a file holds the text encoder of the network.

    Args:
        theirs, ours: settings of the file and the network; None for BERT.
        path: the file, for error messages.

    Raises:
        WeightsError: they differ; the message names the config keys to set.
    """
    if theirs is None and ours is None:
        return
    if theirs is None:
        raise WeightsError(
            f"{path}: was trained with BERT and the network has a recurrent text encoder; set the "
            'config key text_encoder to "bert"'
        )
    if ours is None:
        raise WeightsError(
            f"{path}: was trained with a recurrent text encoder ({theirs.rnn_cell}) and the "
            'network has BERT; set the config key text_encoder to "recurrent"'
        )
    differences = theirs.differences(ours)
    if differences:
        raise WeightsError(
            f"{path}: its text encoder has other settings (recurrent cell {theirs.rnn_cell}, the "
            f"network's is {ours.rnn_cell}); set in the config file or with --set: "
            + " ".join(differences)
        )
