"""Matching layers of a file with a network, and filling variables: all of them, or none.

Each reader of a format matches what a file holds with the layers of a network and returns a
`Match`; `fill` checks every array of it before it assigns the first one.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from model.weights.hdf5.content import FETCH_AGAIN, WeightsError, listed
from model.weights.hdf5.layers import FileLayer, layer_text, shapes_text

if TYPE_CHECKING:
    import keras

# First part of the names of our layers → the config keys that determine their shapes.
KEYS = {
    "backbone": "backbone_width and backbone_blocks",
    **dict.fromkeys(
        ("bert", "token", "position", "segment", "embeddings", "transformer"),
        "text_encoder and bert_path",
    ),
    "text": "rnn_cell, bidirectional, lang_att, rnn_hidden_size and embed_dim",
    "fusion": "head_width, backbone_width and rnn_hidden_size",
}


@dataclass(frozen=True)
class Slot:
    """Where the arrays of one layer of a file belong.

    Attributes:
        layer: the layer of the network.
        kind: "conv", "bn", "dense", "rnn" or "other".
        targets: for each array of the file's layer, in its order, the variables that it fills. If
            there are several, they share it along its input axis, which is the last but one.
        in_trunk: whether the layer belongs to the trunk of the backbone.
    """

    layer: str
    kind: str
    targets: tuple[tuple, ...]
    in_trunk: bool = False

    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes that the file's arrays must have."""
        return [_joint_shape(variables) for variables in self.targets]

    def __str__(self) -> str:
        return layer_text(self.layer, self.kind, self.shapes())


def _joint_shape(variables: tuple) -> tuple[int, ...]:
    first = tuple(variables[0].shape)
    if len(variables) == 1:
        return first
    rows = sum(variable.shape[-2] for variable in variables)
    return (*first[:-2], rows, first[-1])


@dataclass(frozen=True)
class Transfer:
    """One array of a file and the variables it fills.

    Attributes:
        source: name of the array in the file.
        layer: the layer of the network.
        array: h5py dataset or NumPy view; its shape is the joint shape of the variables.
        variables: what it fills; several share it along its input axis, the last but one.
        change: function applied to the array, for weights that need to be adapted.
        variance: whether it is a moving variance, which cannot be negative.
    """

    source: str
    layer: str
    array: Any
    variables: tuple
    change: Callable[[np.ndarray], np.ndarray] | None = None
    variance: bool = False

    def read(self) -> np.ndarray:
        """Reads the array, adapts it if necessary, and converts it to the variables' dtype."""
        values = np.asarray(self.array[...])
        if self.change is not None:
            values = self.change(values)
        with np.errstate(over="ignore"):  # What overflows becomes infinite, which `check` refuses.
            return values.astype(self.variables[0].dtype, copy=False)

    def check(self, path: str | os.PathLike) -> None:
        """Raises a WeightsError if the array cannot be correct; assigns nothing."""
        if self.array.dtype.kind != "f":
            raise WeightsError(
                f"{path}: {self.source} holds {self.array.dtype}, not floating-point numbers"
            )
        values = self.read()
        if not np.isfinite(values).all():
            raise WeightsError(
                f"{path}: {self.source} ({self.layer}) holds values that are not finite, because "
                f"the training that wrote it diverged or the file is damaged; {FETCH_AGAIN}"
            )
        if self.variance and (values < 0).any():
            raise WeightsError(
                f"{path}: {self.source} ({self.layer}) is a variance and holds negative values, so "
                f"the file is damaged or belongs to another network; {FETCH_AGAIN}"
            )

    def assign(self) -> None:
        """Reads the array and assigns it to the variables."""
        values = self.read()
        if len(self.variables) == 1:
            self.variables[0].assign(values)
            return
        edges = np.cumsum([variable.shape[-2] for variable in self.variables[:-1]])
        for variable, part in zip(self.variables, np.split(values, edges, axis=-2), strict=True):
            variable.assign(part)


@dataclass
class Match:
    """What a reader found: how a file fits a network.

    Attributes:
        kind: what the file is.
        transfers: the arrays to assign.
        unused: names of what else the file holds.
        notes: remarks, such as an adaptation of the weights.
    """

    kind: str
    transfers: list[Transfer]
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class LoadReport:
    """What was loaded from a file.

    Attributes:
        path: the file.
        kind: what the file is.
        entries: (name in the file, layer of the network, shape) of every array that was read.
        unused: what else the file holds, which has no place in the network.
        missing: layers of the network that keep their initial values, such as the branches when
            the file holds a backbone.
        notes: remarks, such as an adaptation of the weights.
    """

    path: str
    kind: str
    entries: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Number of values that were loaded."""
        return sum(int(np.prod(shape)) for _, _, shape in self.entries)

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.kind}: {len(self.entries)} arrays, {self.parameters:,} parameters"
        ]
        if self.unused:
            lines.append(f"  not used ({len(self.unused)}): {listed(self.unused, 8)}")
        if self.missing:
            lines.append(
                f"  left as initialized ({len(self.missing)} layers): {listed(self.missing, 8)}"
            )
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def table(self) -> str:
        """One line per array: its name in the file, the layer of the network, its shape."""
        width = max((len(source) for source, _, _ in self.entries), default=0)
        return "\n".join(
            f"  {source:<{width}}  {layer:<24}  {shapes_text([shape])}"
            for source, layer, shape in self.entries
        )


def keys_of(layer: str) -> str:
    """Names the config keys that determine the shapes of a layer of the network, for messages."""
    return KEYS.get(layer.split("_")[0], "head_width and backbone_width")


def check_backbone(theirs: str | None, ours: str, path: str | os.PathLike) -> None:
    """Checks that a file holds the backbone of the network.

    Args:
        theirs: registered name of the backbone in the file; None if it cannot be determined.
        ours: registered name of the network's backbone.
        path: the file, for error messages.

    Raises:
        WeightsError: the backbones differ.
    """
    if theirs not in (ours, None):
        raise WeightsError(
            f"{path}: holds a {theirs} backbone, but the network has {ours}; "
            f'set the config key backbone to "{theirs}"'
        )


def check_shapes(slot: Slot, layer: FileLayer, path: str | os.PathLike) -> None:
    """Checks that a layer of a file has the kind and shapes of its slot.

    Raises:
        WeightsError: they differ; the message names both layers, their shapes and config keys.
    """
    if slot.kind != layer.kind or slot.shapes() != layer.shapes():
        raise WeightsError(
            f"{path}: layer {layer} does not fit {slot} of the network; the config keys that "
            f"determine its shape are {keys_of(slot.layer)}"
        )


def layer_transfers(
    slot: Slot, layer: FileLayer, changes: Sequence[Callable] | None = None
) -> list[Transfer]:
    """The transfers from a layer of a file to its slot, see `slot_transfers`."""
    return slot_transfers(slot, layer.array_names(), layer.arrays, changes)


def slot_transfers(
    slot: Slot,
    sources: Sequence[str],
    arrays: Sequence[Any],
    changes: Sequence[Callable] | None = None,
) -> list[Transfer]:
    """The transfers that fill a slot.

    Args:
        slot: the slot.
        sources: names of the arrays in the file.
        arrays: h5py datasets or NumPy views in the order of the slot.
        changes: one function per array, see `Transfer`; None leaves all arrays as they are.
    """
    functions = [None] * len(arrays) if changes is None else changes
    return [
        Transfer(source, slot.layer, array, variables, function, slot.kind == "bn" and index == 3)
        for index, (source, array, variables, function) in enumerate(
            zip(sources, arrays, slot.targets, functions, strict=True)
        )
    ]


def fill(
    match: Match, path: str | os.PathLike, layers: "Sequence[keras.layers.Layer]"
) -> LoadReport:
    """Checks every array of a match, then assigns all of them.

    Arrays are read twice, once to check and once to assign, so that neither a partly filled
    network nor a second copy of all weights in memory results.

    Args:
        match: what a reader found.
        path: the file, for the report and error messages.
        layers: the layers of the network; those that are not filled completely are reported.

    Returns:
        LoadReport.

    Raises:
        WeightsError: an array cannot be read or cannot be correct. Nothing was assigned then.
    """
    for transfer in match.transfers:
        transfer.check(path)
    for transfer in match.transfers:
        transfer.assign()
    variables = [variable for transfer in match.transfers for variable in transfer.variables]
    missing = unfilled(layers, variables)
    entries = [(t.source, t.layer, tuple(t.array.shape)) for t in match.transfers]
    return LoadReport(str(path), match.kind, entries, match.unused, missing, match.notes)


def unfilled(layers: "Sequence[keras.layers.Layer]", variables: Sequence[Any]) -> list[str]:
    """Names of the layers with a weight that is not among `variables`."""
    filled = {id(variable) for variable in variables}
    return [layer.name for layer in layers if any(id(v) not in filled for v in layer.weights)]
