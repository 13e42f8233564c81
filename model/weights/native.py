"""Weight files of this project: Keras 3 `.weights.h5` with attributes that say what they hold.

| attribute | content |
|---|---|
| `mcn_part` | "network", "backbone" or "trunk", see `model.weights.layouts.PARTS` |
| `mcn_backbone` | registered name of the backbone |
| `trained_on` | what the weights were trained on, if known; see `model.weights.provenance` |
| `checksum_blake2b` | checksum over everything in the file, see `config.hdf5_file` |
| `sealed_by` | "checksum_blake2b", so that a file that has lost its checksum is recognized |

A file without `mcn_part` was not written by this project.

Keras locates a layer in such a file by counting the layers of each class. Given the file of a
network assembled in another order, it fills the wrong layers without an error; layers that the
network lacks are skipped, and errors leave the network partly filled. Therefore this module
matches layers by name and checks the whole file before anything is assigned.
"""

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from config.errors import Hdf5Error
from config.files import first_free, numbered
from config.hdf5_file import written_hdf5
from config.hdf5_file.examination import LONGEST_NAME
from model.weights.hdf5.content import WeightsError, listed
from model.weights.hdf5.layers import (
    FileLayer,
    group_of,
    layer_kind,
    layer_name,
    own_arrays,
    text_attribute,
)
from model.weights.layouts import NETWORK, PARTS, TRUNK, name_of_part, part_of
from model.weights.published import (
    TextSettings,
    check_text_settings,
    text_settings,
    text_settings_of,
)
from model.weights.transfer import (
    Match,
    Slot,
    Transfer,
    check_backbone,
    check_shapes,
    keys_of,
    layer_transfers,
)

if TYPE_CHECKING:
    import keras

PART, BACKBONE_NAME, TRAINED_ON = "mcn_part", "mcn_backbone", "trained_on"
SUFFIX = ".weights.h5"
Groups = Mapping[str, h5py.Group]


@dataclass(frozen=True)
class Contents:
    """What a file of this project holds.

    Attributes:
        part: "network", "backbone" or "trunk".
        backbone: registered name of the backbone.
    """

    part: str
    backbone: str

    def __str__(self) -> str:
        if self.part == NETWORK:
            return "MCN weights"
        return f"MCN {self.backbone} backbone" + (", trunk only" if self.part == TRUNK else "")


def contents_of(file: h5py.File, path: str | os.PathLike) -> Contents | None:
    """What an open HDF5 file holds; None if this project did not write it.

    Raises:
        WeightsError: the attributes have values that this version does not know.
    """
    part, backbone = text_attribute(file, PART), text_attribute(file, BACKBONE_NAME)
    if part is None:
        return None
    if part not in PARTS or backbone is None:
        raise WeightsError(
            f"{path}: its attributes {PART} = {part} and {BACKBONE_NAME} = {backbone} are not "
            f"valid; {PART} must be one of {', '.join(PARTS)}"
        )
    return Contents(part, backbone)


def match_native(
    model: "keras.Model", file: h5py.File, contents: Contents, path: str | os.PathLike
) -> Match:
    """Matches a file of this project with the network.

    Args:
        model: network of `build_mcn`.
        file: the open file.
        contents: what it holds.
        path: the file, for error messages.

    Returns:
        Match that fills the whole part of the network that the file holds.

    Raises:
        WeightsError: the file holds another network; the message names the difference and the
            config keys.
    """
    check_backbone(contents.backbone, model.backbone.name, path)
    groups = layer_groups(file)
    if contents.part == NETWORK:
        check_text_settings(text_settings_of_groups(groups), text_settings_of(model), path)
    layers = [layer for layer in part_of(model, contents.part).layers if layer.weights]
    return Match(str(contents), match_layers(layers, groups, path))


def layer_groups(file: h5py.File) -> dict[str, h5py.Group]:
    """The groups of the layers with arrays in a Keras 3 file, by layer name.

    Raises:
        Hdf5Error: there are none, two have one name, or one is an array.
    """
    if "layers" not in file:
        raise Hdf5Error("is damaged (it has no layers)")
    layers, groups = group_of(file, "layers"), {}
    for key in layers:
        group = group_of(layers, key)
        if next(_leaves(group), None) is None:
            continue
        name = layer_name(group) or key
        if name in groups:
            raise Hdf5Error(f"is damaged (two layers are called {name})")
        groups[name] = group
    return groups


def match_layers(
    layers: "Sequence[keras.layers.Layer]", groups: Groups, path: str | os.PathLike
) -> list[Transfer]:
    """Matches layers with the groups of a file, by name.

    Args:
        layers: Keras layers, all of which have weights.
        groups: `layer_groups` of the file.
        path: the file, for error messages.

    Returns:
        Transfers that fill every weight of `layers`.

    Raises:
        WeightsError: a layer is missing, unknown or has other shapes.
    """
    ours = {layer.name: layer for layer in layers}
    absent = [name for name in ours if name not in groups]
    extra = [name for name in groups if name not in ours]
    if absent or extra:
        keys = sorted({keys_of(name) for name in absent + extra})
        raise WeightsError(
            f"{path}: belongs to another network"
            + (f"; it lacks {listed(absent)}" if absent else "")
            + (f"; it has {listed(extra)}, which this network lacks" if extra else "")
            + f"; the config keys that determine the layers are {', '.join(keys)}"
        )
    transfers = []
    for name, layer in ours.items():
        transfers += _match_layer(layer, groups[name], path)
    return transfers


def text_settings_of_groups(groups: Groups) -> TextSettings | None:
    """The settings of the text encoder in a file; None if it has no recurrent layer."""
    if "text_rnn" not in groups:
        return None
    arrays = [array for _, leaf in _leaves(groups["text_rnn"]) for array in own_arrays(leaf)]
    if layer_kind(arrays) != "rnn":
        raise Hdf5Error("is damaged (text_rnn does not have the arrays of a recurrent layer)")
    return text_settings([array.shape for array in arrays], "text_attention" in groups)


def _leaves(
    group: h5py.Group, parts: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], h5py.Group]]:
    """Yields (path within the layer, group) of a layer and its nested layers that have arrays."""
    if "vars" in group and len(group_of(group, "vars")):
        yield parts, group
    for key, inner in group.items():
        if key != "vars" and isinstance(inner, h5py.Group):
            yield from _leaves(inner, (*parts, key))


def _match_layer(
    layer: "keras.layers.Layer", group: h5py.Group, path: str | os.PathLike
) -> list[Transfer]:
    transfers: list[Transfer] = []
    for parts, leaf in _leaves(group):
        variables = _own_variables(_nested_layer(layer, parts, group))
        arrays = own_arrays(leaf)
        name = "/".join((layer.name, *parts))
        slot = Slot(layer.name, layer_kind(variables), tuple((v,) for v in variables))
        theirs = FileLayer(name, layer_kind(arrays), arrays)
        check_shapes(slot, theirs, path)
        transfers += layer_transfers(slot, theirs)
    filled = {id(transfer.variables[0]) for transfer in transfers}
    absent = [variable.path for variable in layer.weights if id(variable) not in filled]
    if absent:
        raise WeightsError(f"{path}: lacks {listed(absent)}; the file is damaged or incomplete")
    return transfers


def _nested_layer(layer: "keras.layers.Layer", parts: Sequence[str], group: h5py.Group) -> Any:
    """The layer inside a layer at a path of the file; None if there is none.

    The parts of the path are attributes. In lists and dicts, where the file numbers layers by
    class, the name of the layer decides.
    """
    owner: Any = layer
    for part in parts:
        group = group[part]
        if isinstance(owner, dict):
            owner = list(owner.values())
        if isinstance(owner, (list, tuple)):
            name = layer_name(group)
            owner = next((item for item in owner if getattr(item, "name", None) == name), None)
        elif part == "layers":
            owner = getattr(owner, part, None)
        else:  # Among properties, which run code, a file may choose those of sub-layers only.
            attributes = getattr(owner, "__dict__", {})
            owner = attributes.get(part, attributes.get(f"_{part}"))
    return owner if hasattr(owner, "save_own_variables") else None


def _own_variables(layer: "keras.layers.Layer | None") -> list:
    """The variables that a layer itself stores, in the order of its file."""
    store: dict[str, Any] = {}
    if layer is not None:
        layer.save_own_variables(store)
    return [store[key] for key in sorted(store, key=int)]


def check_name(path: str | os.PathLike) -> None:
    """Raises a WeightsError if weights are not written to a file of this name."""
    name = Path(path).name
    if not name.endswith(SUFFIX):
        raise WeightsError(f"{path}: the name must end in {SUFFIX}")
    if name == SUFFIX:
        raise WeightsError(f"{path}: the name is only the suffix; specify NAME{SUFFIX}")


def check_target(path: str | os.PathLike, overwrite: bool) -> None:
    """Checks, before long work, that weights may be written to a file.

    Args:
        path: the file.
        overwrite: whether it may replace an existing one.

    Raises:
        WeightsError: see `check_name`; or it is a folder, or it exists.
    """
    check_name(path)
    if Path(path).is_dir():
        raise WeightsError(f"{path} is a folder; specify a file")
    if not overwrite and os.path.lexists(path):
        raise WeightsError(f"{path} exists; specify another file, or pass --overwrite")


def write_target(
    model: "keras.Model",
    path: str | os.PathLike,
    overwrite: bool,
    half: bool = False,
    trained_on: str | None = None,
) -> Path:
    """Writes weights after long work, to the file that `check_target` allowed before it.

    What has appeared at `path` since then is kept, and the weights get a free name beside it, such
    as `backbone-2.weights.h5`, with a warning.

    Args:
        path, overwrite: as those of `check_target`.
        model, half, trained_on: as those of `model.weights.save_weights`.

    Returns:
        The file that was written.

    Raises:
        WeightsError: as `model.weights.save_weights`.
        FolderError: the path leads through a file.
        NoSpaceError: the disk is full.
    """
    path = Path(path)
    replace = overwrite and not path.is_dir()
    while True:
        target = path if replace else first_free(numbered(path, "-", SUFFIX))
        if target != path:
            print(f"warning: {path} exists by now; writing {target} instead", file=sys.stderr)
        try:
            write_native(model, target, half, trained_on, replace)
        except FileExistsError:  # Another process has taken the name since.
            continue
        return target


def write_native(
    model: "keras.Model",
    path: str | os.PathLike,
    half: bool = False,
    trained_on: str | None = None,
    replace: bool = True,
) -> None:
    """Writes a `.weights.h5` file atomically; see `model.weights.save_weights`.

    Args:
        replace: whether it replaces an existing file, instead of raising FileExistsError.
    """
    path = Path(path)
    check_name(path)
    attributes = {PART: name_of_part(model), BACKBONE_NAME: model.backbone.name}
    if trained_on is not None:
        check_trained_on(trained_on)
        attributes[TRAINED_ON] = trained_on
    content = _InMemory()
    model.save_weights(content)
    if not half:
        with written_hdf5(path, content, replace=replace) as file:
            file.attrs.update(attributes)
        return
    with h5py.File(content, "r") as source, written_hdf5(path, replace=replace) as file:
        _copy_halved(source, file)
        file.attrs.update(attributes)


def check_trained_on(text: str) -> None:
    """Raises WeightsError if `trained_on` cannot be stored in a file."""
    if not text.isprintable() or len(text) > LONGEST_NAME:
        raise WeightsError(
            f"trained_on: must be one line of at most {LONGEST_NAME} printable characters"
        )


class _InMemory(io.BytesIO):
    """A file in memory to which Keras writes weights, because its name has the right ending."""

    def __str__(self) -> str:
        return f"memory{SUFFIX}"


def _copy_halved(source: h5py.File, target: h5py.File) -> None:
    """Copies groups, attributes and, as float16, arrays."""

    def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group):
            copied = target.require_group(name)
        else:
            copied = target.create_dataset(name, data=_to_float16(item[...], name))
        copied.attrs.update(item.attrs)

    source.visititems(copy)
    target.attrs.update(source.attrs)


def _to_float16(values: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise WeightsError(
            f"{name}: the value {np.abs(values).max():g} exceeds 65504, the largest of float16; "
            "omit --half"
        )
    return rounded
