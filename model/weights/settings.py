"""The settings that determine the layers of a network, read from the layers of a file or model.

The size of a full-size backbone is left out.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from model.weights.hdf5.layers import FileLayer, layer_kind
from model.weights.layouts import BACKBONE, NETWORK, part_of
from model.weights.published import TextSettings, text_settings_of

if TYPE_CHECKING:
    import keras

# Filters of the first convolution of the full-size backbones.
FIRST_FILTERS = {"darknet": 32, "vgg": 64}
FULL_BLOCKS = [1, 2, 8, 8, 4]
# The six convolutions behind the trunk of a backbone look like this many residual blocks.
TAIL_BLOCKS = 3
BOX_FILTERS = 15
HEAD_FILTERS = 512
# Names of the backbone's convolutions in our files start with this.
BACKBONE_PREFIX = "backbone_"
# Settings of the size of a network; those of the backbone are left out if it has the full one.
SIZE_KEYS = ("backbone_width", "backbone_blocks", "head_width")


def network_settings(
    layers: Sequence[FileLayer], backbone: str, text: TextSettings | None
) -> dict[str, Any]:
    """Config keys of a whole network.

    Args:
        layers: its layers; of a backbone, in network order.
        backbone: registered name of the backbone.
        text: settings of the recurrent text encoder; None for BERT.
    """
    settings = backbone_settings(layers, backbone)
    settings |= {"text_encoder": "bert"} if text is None else asdict(text)
    for layer in layers:
        shape = layer.shapes()[0]
        if layer.kind == "conv" and shape[-1] == BOX_FILTERS:
            settings["head_width"] = shape[2] / HEAD_FILTERS
    return settings


def backbone_settings(
    layers: Sequence[FileLayer], backbone: str, whole: bool = True
) -> dict[str, Any]:
    """Config keys of a backbone.

    Args:
        layers: layers of the network or backbone.
        backbone: registered name of the backbone.
        whole: whether it is more than the trunk.
    """
    settings: dict[str, Any] = {"backbone": backbone}
    kernels = [layer.shapes()[0] for layer in layers if layer.kind == "conv"]
    if backbone in FIRST_FILTERS and kernels:
        width = kernels[0][-1] / FIRST_FILTERS[backbone]
        if width != 1:
            settings["backbone_width"] = width
    ours = [
        layer.shapes()[0]
        for layer in layers
        if layer.kind == "conv" and layer.name.startswith(BACKBONE_PREFIX)
    ]
    if backbone == "darknet" and ours:
        blocks = _blocks(ours)
        if blocks and whole:
            blocks[-1] -= TAIL_BLOCKS
        if blocks != FULL_BLOCKS:
            settings["backbone_blocks"] = _compact(blocks)
    return settings


def model_settings(model: "keras.Model", part: str) -> dict[str, Any]:
    """Config keys of a network, or of its backbone alone.

    Args:
        model: network of `build_mcn`.
        part: one of `model.weights.layouts.PARTS`; all but the network mean the backbone.
    """
    chosen = {layer.name: layer for layer in part_of(model, BACKBONE).layers}
    if part == NETWORK:
        chosen |= {layer.name: layer for layer in model.layers}
    layers = [
        FileLayer(name, layer_kind(layer.weights), tuple(layer.weights))
        for name, layer in chosen.items()
        if layer.weights
    ]
    if part == NETWORK:
        return network_settings(layers, model.backbone.name, text_settings_of(model))
    return backbone_settings(layers, model.backbone.name)


def differing_settings(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], *, named_layers: bool
) -> tuple[str, str]:
    """Compares the settings that a file fits with those of a network.

    Args:
        theirs: of `network_settings` or `backbone_settings`, of the file.
        ours: of `model_settings`, of the network.
        named_layers: whether the file has our names of layers. Without them, the residual blocks
            are known only of a full-size backbone.

    Returns:
        The values of the file and those of the network in which they differ, as
        "key=value key=value"; empty if there is no difference.
    """
    if len(json.loads(theirs.get("backbone_blocks", "[0,0,0,0,0]"))) != len(FULL_BLOCKS):
        return "", ""  # The file is damaged.
    defaults, own_defaults = _full_size(theirs), _full_size(ours)
    keys = dict.fromkeys([*theirs, *defaults])
    if not named_layers and "backbone_width" in theirs:
        keys.pop("backbone_blocks", None)
    fitting, present = [], []
    for key in keys:
        value, own = theirs.get(key, defaults.get(key)), ours.get(key, own_defaults.get(key))
        if value != own:
            fitting.append(f"{key}={value}")
            present += [] if own is None else [f"{key}={own}"]
    return " ".join(fitting), " ".join(present)


def _full_size(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What settings leave out: values of the full-size network and its recurrent text encoder."""
    left_out: dict[str, Any] = {"text_encoder": "recurrent"}
    if settings["backbone"] in FIRST_FILTERS:
        left_out["backbone_width"] = 1.0
    if settings["backbone"] == "darknet":
        left_out["backbone_blocks"] = _compact(FULL_BLOCKS)
    return left_out


def _compact(blocks: Sequence[int]) -> str:
    return json.dumps(list(blocks), separators=(",", ":"))


def _blocks(kernels: Sequence[tuple[int, ...]]) -> list[int]:
    """Number of residual blocks per Darknet stage, from the kernel shapes in network order.

    A stage starts with a 3×3 convolution after another one; a block is 1×1, then 3×3.
    """
    blocks: list[int] = []
    for before, kernel in itertools.pairwise(kernels):
        if kernel[0] == 3 and before[0] == 3:
            blocks.append(0)
        elif kernel[0] == 3 and blocks:
            blocks[-1] += 1
    return blocks
