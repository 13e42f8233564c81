"""The layers of an HDF5 weight file of Keras 2 or Keras 3.

Nothing here depends on a network or imports Keras, so that inspecting a file is quick.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from config.errors import Hdf5Error
from config.hdf5_file import items_of
from config.hdf5_file.examination import check_name
from model.weights.hdf5.content import FETCH_AGAIN, WeightsError


@dataclass(frozen=True)
class FileLayer:
    """A layer of a weight file that has arrays.

    Attributes:
        name: name of the layer in the file.
        kind: "conv", "bn", "dense", "rnn" or "other".
        arrays: h5py datasets in the order of the file, read on demand.
    """

    name: str
    kind: str
    arrays: tuple[h5py.Dataset, ...]

    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each array."""
        return [tuple(array.shape) for array in self.arrays]

    def array_names(self) -> list[str]:
        """The path of each array in the file."""
        return [array.name.lstrip("/") for array in self.arrays]

    def __str__(self) -> str:
        return layer_text(self.name, self.kind, self.shapes())


def text_attribute(item: h5py.File | h5py.Group, name: str) -> str | None:
    """The attribute of a file or group as text, or None if there is none.

    Raises:
        Hdf5Error: it is not text.
    """
    value = item.attrs.get(name)
    return None if value is None else _text(value, f"{item.name}, attribute {name},")


def _text(value: Any, where: str) -> str:
    with contextlib.suppress(UnicodeDecodeError):
        value = value.decode() if isinstance(value, bytes) else value
    if not isinstance(value, str):
        raise Hdf5Error(f"is damaged ({where} is not text)")
    check_name(value, where)
    return value


def group_of(parent: h5py.Group, name: str) -> h5py.Group:
    """A group inside another one.

    Raises:
        Hdf5Error: it is an array.
    """
    item = parent[name]
    if not isinstance(item, h5py.Group):
        raise Hdf5Error(f"is damaged ({item.name} is an array, not a group)")
    return item


def array_of(parent: h5py.Group, name: str) -> h5py.Dataset:
    """An array of a layer.

    Raises:
        Hdf5Error: it is a group, or empty.
    """
    item = parent[name]
    if not isinstance(item, h5py.Dataset) or not item.size:
        raise Hdf5Error(f"is damaged ({item.name} is not an array, or an empty one)")
    return item


def read_layers(file: h5py.File, path: str | os.PathLike) -> list[FileLayer]:
    """Lists the layers with arrays of an open Keras file of either layout.

    Keras 2 files list their layers, in an order that is kept. Keras 3 files name groups by class
    and count; these are sorted naturally, and each layer has the name it had in its network.

    Args:
        file: as `open_hdf5` yields it.
        path: the file, for error messages.

    Raises:
        WeightsError: the file is not a weight file of Keras.
    """
    if is_keras2(file):
        return _keras2_layers(file, path)
    layers = [
        FileLayer(layer_name(group) or group.name.strip("/"), layer_kind(arrays), arrays)
        for group, arrays in _keras3_groups(file)
    ]
    if not layers:
        if "run_state" in file:
            raise WeightsError(
                f"{path}: is the state of a training run; use best.weights.h5 of the same folder"
            )
        raise WeightsError(
            f"{path}: contains no layers, so it is not a weight file of Keras; {FETCH_AGAIN}"
        )
    return layers


def is_keras2(file: h5py.File) -> bool:
    """Whether an open HDF5 file lists its layers in attributes, as Keras 2 wrote them."""
    attributes = _keras2_root(file).attrs
    return "layer_names" in attributes or "layer_names0" in attributes


def _keras2_root(file: h5py.File) -> h5py.Group:
    """The group with the weights, which files of a whole model nest one level deeper."""
    return group_of(file, "model_weights") if "model_weights" in file else file


def _keras2_layers(file: h5py.File, path: str | os.PathLike) -> list[FileLayer]:
    root, layers = _keras2_root(file), []
    for name in _attribute_names(root, "layer_names"):
        if name not in root:
            raise WeightsError(f"{path}: lists layer {name} but lacks it; {FETCH_AGAIN}")
        group = group_of(root, name)
        weights = _attribute_names(group, "weight_names")
        absent = [weight for weight in weights if weight not in group]
        if absent:
            raise WeightsError(f"{path}: layer {name} lacks its array {absent[0]}; {FETCH_AGAIN}")
        if weights:
            arrays = tuple(array_of(group, weight) for weight in weights)
            layers.append(FileLayer(name, layer_kind(arrays), arrays))
    return layers


def _attribute_names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names, which Keras splits over numbered attributes if it is long."""
    if attribute in group.attrs:
        chunks = [group.attrs[attribute]]
    else:
        chunks, index = [], 0
        while f"{attribute}{index}" in group.attrs:
            chunks.append(group.attrs[f"{attribute}{index}"])
            index += 1
    where = f"{group.name}, attribute {attribute},"
    if any(not isinstance(chunk, np.ndarray) for chunk in chunks):
        raise Hdf5Error(f"is damaged ({where} is not a list)")
    names = [_text(name, where) for chunk in chunks for name in chunk]
    if len(set(names)) < len(names):
        raise Hdf5Error(f"is damaged ({where} has a name twice)")
    return names


def _keras3_groups(file: h5py.File) -> list[tuple[h5py.Group, tuple[h5py.Dataset, ...]]]:
    """(group, its arrays) of every layer with arrays, sorted naturally by path."""
    groups = []
    for item in items_of(file):
        path = item.name.lstrip("/")
        is_vars = path.rpartition("/")[2] == "vars"
        has_arrays = is_vars and isinstance(item, h5py.Group) and len(item)
        if has_arrays and not path.startswith("optimizer"):
            groups.append((_natural(path), item.parent))
    groups.sort(key=lambda entry: entry[0])
    return [(group, own_arrays(group)) for _, group in groups]


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", path)]


def own_arrays(group: h5py.Group) -> tuple[h5py.Dataset, ...]:
    """The arrays of a Keras 3 layer in numerical order, without those of nested layers."""
    arrays = group_of(group, "vars")
    return tuple(array_of(arrays, key) for key in sorted(arrays, key=_natural))


def layer_name(group: h5py.Group) -> str | None:
    """The name a layer of a Keras 3 file had; None in files of early versions."""
    return text_attribute(group_of(group, "vars"), "name") if "vars" in group else None


def layer_kind(arrays: Sequence[Any]) -> str:
    """The kind of a layer, "conv", "bn", "dense", "rnn" or "other".

    Args:
        arrays: arrays or variables of the layer; the kind follows from their number of
            dimensions, which is the same in Keras 2 and Keras 3.
    """
    dims = tuple(array.ndim for array in arrays)
    if dims in ((4,), (4, 1)):
        return "conv"
    if dims in ((2,), (2, 1)):
        return "dense"
    if dims == (1, 1, 1, 1):
        return "bn"
    if dims in ((2, 2, 1), (2, 2, 1) * 2, (2, 2, 2), (2, 2, 2) * 2):
        return "rnn"
    return "other"


def layer_text(name: str, kind: str, shapes: Sequence[Sequence[int]]) -> str:
    """Describes a layer for a message: "conv2d_1 (conv 3×3×3×64 + 64)"."""
    contents = shapes_text(shapes) or "no arrays"
    return f"{name} ({contents})" if kind == "other" else f"{name} ({kind} {contents})"


def shapes_text(shapes: Sequence[Sequence[int]]) -> str:
    """Formats shapes for a message: "3×3×3×64 + 64"."""
    return " + ".join("×".join(map(str, shape)) for shape in shapes)
