"""Weight files of our own networks: Keras 3 `.weights.h5`, and those inside `.keras`.

Keras finds its place in such a file by counting layers of each class. A file of a network that
was put together in another order would then fill the wrong layers without a word, layers that the
network lacks are passed over, and an error comes after half of the network was filled. So the
files are read here: every layer under its name, checked whole before anything is assigned.
"""

import os
from pathlib import Path

import h5py
import numpy as np

from model.text_encoders.settings import text_settings, text_settings_of
from model.weights.hdf5 import WeightsError, layer_name, own_arrays, shapes_text
from model.weights.published import check_text_settings, keys_of
from model.weights.transfer import Transfer

BACKBONE_PREFIX = "backbone_"
# Name, kept in the file, of the model that holds a backbone without the six convolutions behind.
TRUNK_NAME = "visual_trunk"
SUFFIX = ".weights.h5"


def native_groups(file):
    """The layers with arrays of a Keras 3 file of one flat network.

    Returns:
        Name → h5py group; empty for a file of another layout.
    """
    layers = file.get("layers", {})
    groups = {}
    for key, group in layers.items():
        if next(_leaves(group), None) is not None:
            groups[layer_name(group) or key] = group
    return groups


def is_native(groups):
    """Whether layers bear the names of ours."""
    return "backbone_1_conv" in groups


def native_transfers(layers, groups, path):
    """Matches a file of ours with layers, by name.

    Args:
        layers: Keras layers, all of which have weights.
        groups: `native_groups` of the file.
        path: the file, for messages.

    Returns:
        List of `Transfer` that fills every weight of `layers`.

    Raises:
        WeightsError: a layer is missing, is too much, or has another shape.
    """
    ours = {layer.name: layer for layer in layers}
    absent = [name for name in ours if name not in groups]
    extra = [name for name in groups if name not in ours]
    if absent or extra:
        keys = sorted({keys_of(name) for name in absent + extra})
        raise WeightsError(
            f"{path}: is of another network"
            + (f"; it lacks {_some(absent)}" if absent else "")
            + (f"; it has, beyond this network, {_some(extra)}" if extra else "")
            + f". The config keys that decide it: backbone, {', '.join(keys)}"
        )
    transfers = []
    for name, layer in ours.items():
        transfers += _layer_transfers(layer, groups[name], path)
    return transfers


def _some(names, shown=4):
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" * (len(names) > shown))


def check_text_branch(model, groups, path):
    """Raises WeightsError that names the config keys if a file's text branch is another one."""
    ours, theirs = text_settings_of(model), text_settings_of_groups(groups)
    if ours is not None and theirs is not None:
        check_text_settings(theirs, ours, path)
    elif ours is not None or theirs is not None:
        raise WeightsError(
            f"{path}: reads words with {'BERT' if theirs is None else 'a recurrent cell'}; set "
            f"the config key use_bert to {int(theirs is None)}"
        )


def text_settings_of_groups(groups):
    """`TextSettings` of a file of ours, None if it has no recurrent layer."""
    if "text_rnn" not in groups:
        return None
    shapes = [array.shape for _, leaf in _leaves(groups["text_rnn"]) for array in own_arrays(leaf)]
    return text_settings(shapes, "text_attention" in groups)


def _leaves(group, parts=()):
    """(path within the layer, group) of a layer and those inside it that hold arrays."""
    if "vars" in group and len(group["vars"]):
        yield parts, group
    for key, inner in group.items():
        if key != "vars" and isinstance(inner, h5py.Group):
            yield from _leaves(inner, (*parts, key))


def _layer_transfers(layer, group, path):
    transfers, filled = [], set()
    for parts, leaf in _leaves(group):
        owner = _owner(layer, parts, group)
        variables = _own_variables(owner)
        arrays = own_arrays(leaf)
        theirs = [tuple(array.shape) for array in arrays]
        ours = [tuple(variable.shape) for variable in variables]
        if theirs != ours:
            raise WeightsError(
                f"{path}: layer {'/'.join((layer.name, *parts))} is {shapes_text(theirs)}, where "
                f"the network has {shapes_text(ours) or 'nothing'}; the config keys that decide "
                f"it: {keys_of(layer.name)}"
            )
        for index, (array, variable) in enumerate(zip(arrays, variables, strict=True)):
            filled.add(id(variable))
            variance = layer.name.endswith("_bn") and index == 3
            name = array.name.lstrip("/")
            transfers.append(Transfer(name, layer.name, array, (variable,), variance=variance))
    absent = [variable.path for variable in layer.weights if id(variable) not in filled]
    if absent:
        raise WeightsError(f"{path}: lacks {_some(absent)}; the file is damaged or incomplete")
    return transfers


def _owner(layer, parts, group):
    """The layer inside a layer that a path of the file leads to, None if there is none.

    Parts of the path are attributes; in lists and dicts the file numbers layers by class, so
    that there the name decides.
    """
    owner = layer
    for part in parts:
        group = group[part]
        if isinstance(owner, dict):
            owner = list(owner.values())
        if isinstance(owner, (list, tuple)):
            name = layer_name(group)
            owner = next((item for item in owner if getattr(item, "name", None) == name), None)
        else:
            owner = getattr(owner, part, None)
    return owner


def _own_variables(owner):
    """The variables that a layer itself stores, in the order of its file."""
    store = {}
    if owner is not None:
        owner.save_own_variables(store)
    return [store[key] for key in sorted(store, key=int)]


def check_name(path):
    """Raises WeightsError if a file to write is not named as Keras wants it."""
    if not Path(path).name.endswith(SUFFIX):
        raise WeightsError(f"{path}: must end in {SUFFIX}")


def write_native(model, path, *, half=False, attributes=None):
    """Writes `.weights.h5` so that the file is there whole or not at all.

    Args:
        model: Keras model.
        path: ends in `.weights.h5`; folders are made.
        half: store float16, at half the size; values are rounded to 11 bits.
        attributes: name → text, kept in the file.

    Raises:
        WeightsError: the path ends otherwise, or a value does not fit float16.
    """
    path = Path(path)
    check_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name("partial-" + path.name)
    rounded = path.with_name("partial-half-" + path.name)
    try:
        model.save_weights(partial)
        if half:
            _round(partial, rounded)
            rounded.replace(partial)
        with h5py.File(partial, "r+") as file:
            file.attrs.update(attributes or {})
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        rounded.unlink(missing_ok=True)


def _round(source, target):
    """Copies a file with its arrays as float16."""
    with h5py.File(source, "r") as full, h5py.File(target, "w") as half:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                made = half.require_group(name)
            else:
                values = item[...]
                with np.errstate(over="ignore"):
                    rounded = values.astype(np.float16)
                if not np.isfinite(rounded).all():
                    raise WeightsError(
                        f"{name}: a value of {np.abs(values).max():g} does not fit float16, whose "
                        "largest is 65504; leave --half away"
                    )
                made = half.create_dataset(name, data=rounded)
            made.attrs.update(item.attrs)

        full.visititems(copy)
        half.attrs.update(full.attrs)
