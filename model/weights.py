"""Reading weight files: completely, or not at all and with the reason.

`load_weights` recognises what a file is by its content, fills every variable of the network and
returns a report of what went where. Nothing is matched by luck and nothing is skipped in
silence: layers are compared one by one, by kind and shape.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from model.mcn import visual_backbone
from model.weight_layouts import mcn_slots

GATES = {3: "gru", 4: "lstm"}


class WeightsError(ValueError):
    """A weight file that cannot be used; the message names file, layer and the way out."""


@dataclass
class LoadReport:
    """What a file filled.

    Attributes:
        path: the file.
        kind: what it was taken for.
        entries: (name in the file, our layer, shape) of every array read.
        unused: names in the file that the network has no place for.
        missing: layers of the network that keep their initial values, as a backbone file
            leaves the branches.
    """

    path: str
    kind: str
    entries: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def parameters(self):
        return sum(int(np.prod(shape)) for _, _, shape in self.entries)

    def __str__(self):
        lines = [
            f"{self.path}: {self.kind}: {len(self.entries)} arrays, {self.parameters:,} parameters"
        ]
        if self.unused:
            lines.append(f"  not used ({len(self.unused)}): " + ", ".join(self.unused[:8]))
        if self.missing:
            lines.append(f"  left as initialised ({len(self.missing)} layers): "
                         + ", ".join(self.missing[:8]))  # fmt: skip
        return "\n".join(lines)


def load_weights(model, path):
    """Fills every weight of a network from a file of ours or a published checkpoint.

    Args:
        model: network of `build_mcn`.
        path: a `.weights.h5` or `.keras` of ours, or a Keras 2 `.h5` of the published training
            or inference model.

    Returns:
        LoadReport; its `missing` is empty.

    Raises:
        WeightsError: the file cannot be read, holds another network, or leaves a weight unfilled.
            Then the network is as it was.
    """
    with _open(path) as file:
        if (
            "layer_names" in _weights_group(file).attrs
            or "layer_names0" in _weights_group(file).attrs
        ):
            return _load_published(model, file, path)
    return _load_native(model, path, f"MCN weights ({model.name})")


def load_pretrained(model, path):
    """Fills a network to start training from: a whole MCN, or its backbone alone.

    Returns:
        LoadReport; its `missing` names what stays as initialised.

    Raises:
        WeightsError: as `load_weights`.
    """
    backbone = visual_backbone(model)
    with _open(path) as file:
        if _native_layer_count(file) == _native_layers(backbone):
            report = _load_native(backbone, path, "backbone weights")
            report.missing = [
                layer.name
                for layer in model.layers
                if layer.weights and not layer.name.startswith("backbone_")
            ]
            return report
    return load_weights(model, path)


def save_weights(model, path):
    """Writes `.weights.h5` so that the file is there whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name("partial-" + path.name)
    model.save_weights(partial)
    partial.replace(path)


def _open(path):
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such weight file; data/README.md says where to get one")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise WeightsError(f"{path}: not a readable HDF5 file ({error})") from None


# Keras 3 files of our own network.


def _native_layers(model):
    return sum(1 for layer in model.layers if layer.weights)


def _native_layer_count(file):
    """Layers with weights in a Keras 3 `.weights.h5`, 0 for another layout."""
    return sum(1 for layer in file.get("layers", {}).values() if _datasets(layer))


def _datasets(group):
    found = []
    group.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return found


def _load_native(model, path, kind):
    before = model.get_weights()
    try:
        model.load_weights(path)
    except Exception as error:  # Keras raises several types for a file that does not fit.
        model.set_weights(before)
        raise WeightsError(
            f"{path}: does not hold this network's weights: {error}\n"
            "Check that backbone, backbone_width, head_width, rnn_cell, bidirectional, lang_att, "
            "rnn_hidden_size, jemb_dim and embed_dim are those that the file was trained with."
        ) from None
    entries = [(v.path, v.path.rpartition("/")[0], tuple(v.shape)) for v in model.weights]
    return LoadReport(str(path), kind, entries)


# Keras 2 files: a group a layer, named by the attribute layer_names in the order of the model.


@dataclass(frozen=True)
class FileLayer:
    """One weighted layer of a Keras 2 file; `arrays` are h5py datasets, read when needed."""

    name: str
    kind: str
    arrays: tuple


def _weights_group(file):
    return file.get("model_weights", file)


def _names(group, attribute):
    """A list of names, which Keras splits over numbered attributes when it is long."""
    if attribute in group.attrs:
        chunks = [group.attrs[attribute]]
    else:
        chunks, index = [], 0
        while f"{attribute}{index}" in group.attrs:
            chunks.append(group.attrs[f"{attribute}{index}"])
            index += 1
    return [n.decode() if isinstance(n, bytes) else str(n) for chunk in chunks for n in chunk]


def read_file_layers(file):
    """The layers with weights of an open Keras 2 file, in its order, as `FileLayer`s."""
    group, layers = _weights_group(file), []
    for name in _names(group, "layer_names"):
        weight_names = _names(group[name], "weight_names")
        if weight_names:
            arrays = tuple(group[name][weight] for weight in weight_names)
            layers.append(FileLayer(name, _kind(weight_names, arrays), arrays))
    return layers


def _kind(weight_names, arrays):
    last = {re.sub(r":\d+$", "", name.rpartition("/")[2]) for name in weight_names}
    if "recurrent_kernel" in last:
        return "rnn"
    if "moving_mean" in last:
        return "bn"
    return {4: "conv", 2: "dense"}.get(arrays[0].ndim, "other")


def _load_published(model, file, path):
    slots = mcn_slots(model, _backbone_name(model))
    layers = read_file_layers(file)
    _check_same_network(slots, layers, path)
    report = LoadReport(str(path), "published MCN checkpoint (Keras 2 layout)")
    for slot, layer in zip(slots, layers, strict=True):
        for variables, array in zip(slot.targets, layer.arrays, strict=True):
            _assign(variables, array[...])
            report.entries.append((array.name.lstrip("/"), slot.layer, array.shape))
    return report


def _backbone_name(model):
    has_bn = any(layer.name == "backbone_1_bn" for layer in model.layers)
    return "darknet" if has_bn else "vgg"


def _check_same_network(slots, layers, path):
    """Raises WeightsError at the first layer that differs, before anything is assigned."""
    _check_backbone(slots, layers, path)
    _check_text_branch(slots, layers, path)
    for slot, layer in zip(slots, layers, strict=False):
        found = [array.shape for array in layer.arrays]
        if slot.kind != layer.kind or slot.shapes() != found:
            raise WeightsError(
                f"{path}: layer {layer.name} is a {layer.kind} {_text(found)}, where this network "
                f"has {slot.layer}, a {slot.kind} {_text(slot.shapes())}"
            )
    if len(slots) != len(layers):
        here, there = [s.layer for s in slots], [layer.name for layer in layers]
        rest = here[len(there) :] or there[len(here) :]
        raise WeightsError(
            f"{path}: holds {len(there)} layers with weights, this network {len(here)}; "
            f"without partner: {', '.join(rest[:6])}"
        )


def _check_backbone(slots, layers, path):
    """The first layer tells Darknet (convolution, BatchNorm) from VGG (convolution with bias)."""
    if not layers:
        raise WeightsError(f"{path}: holds no layer with weights")
    theirs = "vgg" if len(layers[0].arrays) == 2 else "darknet"
    ours = "vgg" if len(slots[0].targets) == 2 else "darknet"
    if layers[0].kind == "conv" and theirs != ours:
        raise WeightsError(
            f"{path}: holds a {theirs} backbone, the network has {ours}; "
            f'set the config key backbone to "{theirs}"'
        )


def _check_text_branch(slots, layers, path):
    """Recurrent cell and direction, which have config keys of their own."""
    ours = next(slot for slot in slots if slot.kind == "rnn")
    theirs = next((layer for layer in layers if layer.kind == "rnn"), None)
    if theirs is None:
        raise WeightsError(f"{path}: holds no recurrent layer; is it a whole MCN checkpoint?")
    cells = [
        GATES.get(columns // units, "unknown")
        for units, columns in (theirs.arrays[1].shape, ours.shapes()[1])
    ]
    if cells[0] != cells[1]:
        raise WeightsError(
            f"{path}: its recurrent layer {theirs.name} is of cell {cells[0]}, the network's is "
            f'{cells[1]}; set the config key rnn_cell to "{cells[0]}"'
        )
    if len(theirs.arrays) != len(ours.targets):
        value = 1 if len(theirs.arrays) == 6 else 0
        raise WeightsError(
            f"{path}: its recurrent layer {theirs.name} reads in {1 + value} direction(s); "
            f"set the config key bidirectional to {value}"
        )


def _assign(variables, array):
    edges = (
        np.cumsum([variable.shape[-2] for variable in variables[:-1]]) if len(variables) > 1 else []
    )
    for variable, part in zip(
        variables, np.split(array, edges, axis=-2) if len(edges) else [array], strict=True
    ):
        variable.assign(part)


def _text(shapes):
    return " + ".join("×".join(map(str, shape)) for shape in shapes)
