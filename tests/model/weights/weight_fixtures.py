"""Tiny networks, and weight files in the layouts that people have, written from them."""

import contextlib
import functools
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from config.hdf5_file import CHECKSUM, SEALED_BY
from model.weights import WeightsError

TINY = {
    "backbone_width": 0.0625,
    "backbone_blocks": [1, 1, 2, 1, 1],
    "head_width": 0.0625,
    "input_size": 64,
    "embed_dim": 8,
    "rnn_hidden_size": 8,
    "word_len": 4,
}
# Channels of the tiny network: Fv1, then Fv2 and Fv3 of each backbone.
TOP, SIDES = 64, {"darknet": (32, 16), "vgg": (32, 32)}
VGG_NAMES = [
    f"block{group}_conv{index}"
    for group, repeats in enumerate((2, 2, 3, 3, 3), start=1)
    for index in range(1, repeats + 1)
]


@functools.cache
def _pair(backbone):
    source, target = (tiny_network(seed, backbone=backbone) for seed in (1, 2))
    pair = SimpleNamespace(source=source, target=target, backbone=backbone)
    return pair, target.get_weights()


def fresh_pair(backbone):
    """A network to write files from and another to load them into; built once for all tests."""
    pair, initial = _pair(backbone)
    for variable, value in zip(pair.target.weights, initial, strict=True):
        if not np.array_equal(variable, value):
            variable.assign(value)
    return pair


@functools.cache
def _written(write, backbone):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.weights.h5"
        return write(path, _pair(backbone)[0]), path.read_bytes()


def write_copy(path, write, backbone="darknet"):
    """Calls `write(path, pair)` for the first file only, and writes equal files afterwards.

    Args:
        path: the file.
        write: writes the source of a pair; a function of a module, which counts as the same.
        backbone: of the pair.

    Returns:
        What `write` returned.
    """
    returned, content = _written(write, backbone)
    path.write_bytes(content)
    return returned


@functools.cache
def _variant(seed, changes):
    return tiny_network(seed, **json.loads(changes))


def variant(seed=5, **changes):
    """A network with other settings, built once for all tests; leave its weights as they are."""
    return _variant(seed, json.dumps(changes, sort_keys=True))


def tiny_network(seed=0, **changes):
    """A scaled-down MCN whose every weight, BatchNorm statistics too, is random."""
    from config.schema import Config
    from model.mcn import build_mcn

    model = build_mcn(Config(**(TINY | changes)))
    randomize(model, seed)
    return model


def randomize(model, seed):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        values = rng.normal(size=variable.shape)
        variable.assign(np.abs(values) + 0.1 if "moving_variance" in variable.path else values)


@contextlib.contextmanager
def untouched(model):
    """Asserts that no weight changes inside."""
    before = model.get_weights()
    yield
    pairs = zip(model.weights, before, model.get_weights(), strict=True)
    assert [v.path for v, old, new in pairs if not np.array_equal(old, new)] == []


@contextlib.contextmanager
def refused(model, match):
    """Asserts that the block raises a WeightsError and changes no weight."""
    with untouched(model), pytest.raises(WeightsError, match=match):
        yield


def same_weights(source, target, chosen=lambda layer: True):
    """Asserts that the chosen layers are equal in both networks, bit by bit; returns how many."""
    count = 0
    for layer in source.layers:
        if layer.weights and chosen(layer.name):
            other = target.get_layer(layer.name)
            for mine, theirs in zip(layer.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_array_equal(mine, theirs, err_msg=layer.name)
            count += 1
    return count


@contextlib.contextmanager
def edited(path):
    """Opens a file of ours to change it, and removes its seal, as older files have none."""
    with h5py.File(path, "r+") as file:
        yield file
        unseal(file)


def unseal(file):
    """Removes the checksum and its mention from an open file."""
    for name in (CHECKSUM, SEALED_BY):
        file.attrs.pop(name, None)


def backbone_arrays(model):
    """Per convolution of the backbone: (kernel, bias or None, BatchNorm's four or None)."""
    names = {layer.name for layer in model.layers}
    arrays, number = [], 1
    while f"backbone_{number}_conv" in names:
        kernel, *bias = model.get_layer(f"backbone_{number}_conv").get_weights()
        bn = f"backbone_{number}_bn"
        norm = model.get_layer(bn).get_weights() if bn in names else None
        arrays.append((kernel, bias[0] if bias else None, norm))
        number += 1
    return arrays


def yolo_head_arrays(sides, classes, seed=5):
    """Random arrays of YOLOv3 behind the backbone, as `backbone_arrays`; written out by hand."""
    rng = np.random.default_rng(seed)
    anchors = 3 * (5 + classes)
    plan = [(1, TOP, anchors, False), (1, 32, 16, True)]
    plan += [(1, 16 + sides[0], 16, True), (3, 16, 32, True)]
    plan += [(1, 32, 16, True), (3, 16, 32, True)] * 2
    plan += [(1, 32, anchors, False), (1, 16, 8, True)]
    plan += [(1, 8 + sides[1], 8, True), (3, 8, 16, True)]
    plan += [(1, 16, 8, True), (3, 8, 16, True)] * 2
    plan += [(1, 16, anchors, False)]
    arrays = []
    for size, inputs, filters, has_bn in plan:
        kernel = rng.normal(size=(size, size, inputs, filters)).astype(np.float32)
        vectors = rng.normal(size=(4, filters)).astype(np.float32)
        vectors[3] = np.abs(vectors[3])
        arrays.append((kernel, None, list(vectors)) if has_bn else (kernel, vectors[0], None))
    return arrays


def write_darknet(path, arrays, version=(0, 2, 0), seen=32_013_312, extra=b""):
    """Writes convolutions as Darknet does; kernels go from HWIO to (out, in, h, w)."""
    with open(path, "wb") as file:
        file.write(np.array(version, "<i4").tobytes())
        wide = version[0] * 10 + version[1] >= 2
        file.write(np.array(seen, "<i8" if wide else "<i4").tobytes())
        for kernel, bias, norm in arrays:
            if norm is None:
                parts = [bias]
            else:
                gamma, beta, mean, variance = norm
                parts = [beta, gamma, mean, variance]
            for part in (*parts, kernel.transpose(3, 2, 0, 1)):
                file.write(np.ascontiguousarray(part, "<f4").tobytes())
        file.write(extra)
    return path


def detector_layers(arrays, first=1, norm_first=1):
    """(name, {array name: array}) of a Keras 2 detector, as numbered when it was built."""
    layers, norm_number = [], norm_first
    for number, (kernel, bias, norm) in enumerate(arrays, start=first):
        name = f"conv2d_{number}"
        layers.append((name, {f"{name}/kernel:0": kernel}))
        if bias is not None:
            layers[-1][1][f"{name}/bias:0"] = bias
        if norm is not None:
            name = f"batch_normalization_{norm_number}"
            parts = ("gamma", "beta", "moving_mean", "moving_variance")
            layers.append((name, {f"{name}/{p}:0": v for p, v in zip(parts, norm, strict=True)}))
            norm_number += 1
    return layers


def interleaved(layers, heads_from):
    """The layers as a depth-sorted file has them: those of the heads spread among the rest."""
    body, heads = layers[:heads_from], layers[heads_from:]
    mixed = [layers[0]]
    for index, layer in enumerate(body[1:]):
        mixed.append(layer)
        if index % 2 and heads:
            mixed.append(heads.pop())
    return mixed + heads


def write_keras2(path, layers, inside=None, chunks=None):
    """Writes layers as Keras 2 does.

    Args:
        path: file to write.
        layers: (layer name, {array name: array}) in the order of the file.
        inside: "model_weights" for a file of a whole model.
        chunks: into how many attributes the list of layers is split.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group(inside) if inside else file
        # Layers without weights are listed as well.
        names = ["input_1", *(name for name, _ in layers)]
        encoded = [name.encode() for name in names]
        if chunks:
            for index, part in enumerate(np.array_split(np.array(encoded), chunks)):
                root.attrs[f"layer_names{index}"] = part
        else:
            root.attrs["layer_names"] = encoded
        root.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, arrays in layers:
            group = root.create_group(name)
            group.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, value in arrays.items():
                group[key] = value
    return path


def write_applications_vgg(path, arrays, with_top=False):
    """Writes the trunk of VGG-16 as the `…tf_kernels_notop.h5` of Keras Applications has it."""
    layers = [
        (name, {f"{name}_W_1:0": kernel, f"{name}_b_1:0": bias})
        for name, (kernel, bias, _) in zip(VGG_NAMES, arrays, strict=True)
    ]
    if with_top:
        layers.append(("fc1", {"fc1_W_1:0": np.ones((4, 3)), "fc1_b_1:0": np.ones(3)}))
    return write_keras2(path, layers)


def keras3_vgg(arrays):
    """A Keras 3 model with the layers of Keras Applications' VGG-16 and the given weights."""
    import keras

    layers = [keras.Input((32, 32, 3))]
    for name, (_, bias, _) in zip(VGG_NAMES, arrays, strict=True):
        if name.endswith("conv1") and name != "block1_conv1":
            layers.append(keras.layers.MaxPooling2D(name=f"block{int(name[5]) - 1}_pool"))
        layers.append(keras.layers.Conv2D(len(bias), 3, padding="same", name=name))
    model = keras.Sequential(layers)
    model.set_weights([array for kernel, bias, _ in arrays for array in (kernel, bias)])
    return model


def file_layers(model, names):
    """The layers of a published file in a given order: (name there, {array name: array}).

    Args:
        model: the network.
        names: our layers; "layer.part" is one of the four of a GARAN unit, and merge_2 and merge_3
            are two layers of ours.
    """
    counts, layers = {}, []
    for name in names:
        layer, _, part = name.partition(".")
        if part:
            unit = model.get_layer(layer)
            kind = "dense"
            arrays = [getattr(unit, f"{part}_{array}").numpy() for array in ("kernel", "bias")]
        elif name in ("merge_2", "merge_3"):
            kind, halves = "conv2d", (model.get_layer(f"{name}_{h}") for h in ("top", "side"))
            arrays = [np.concatenate([half.kernel.numpy() for half in halves], axis=-2)]
        else:
            kind, arrays = _kind(model.get_layer(name)), model.get_layer(name).get_weights()
        counts[kind] = counts.get(kind, 0) + 1
        name = f"{kind}_{counts[kind]}"
        layers.append((name, {f"{name}/array_{i}:0": a for i, a in enumerate(arrays)}))
    return layers


def _kind(layer):
    """What Keras 2 called a layer like this one."""
    if layer.name.endswith("_bn"):
        return "batch_normalization"
    if layer.name == "text_rnn":
        return "bidirectional" if hasattr(layer, "backward_layer") else "gru"
    return "dense" if layer.name.endswith("_dense") else "conv2d"


def write_published(path, model, first=1):
    """Writes a network as a published checkpoint, its counters starting at `first`."""
    from model.weights.layouts import mcn_slots

    words = {
        "conv": "conv2d",
        "bn": "batch_normalization",
        "dense": "dense",
        "rnn": "bidirectional",
    }
    counts, layers = dict.fromkeys(words, first - 1), []
    for slot in mcn_slots(model):
        counts[slot.kind] += 1
        name = f"{words[slot.kind]}_{counts[slot.kind]}"
        arrays = {}
        for index, variables in enumerate(slot.targets):
            values = [np.array(variable) for variable in variables]
            whole = values[0] if len(values) == 1 else np.concatenate(values, axis=-2)
            arrays[f"{name}/weight_{index}:0"] = whole
        layers.append((name, arrays))
    return write_keras2(path, layers)
