"""Filling variables from the arrays of a file: all of them, or none and with the reason."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from model.weights.hdf5 import FETCH_AGAIN, WeightsError, shapes_text


@dataclass
class LoadReport:
    """What a file filled.

    Attributes:
        path: the file.
        kind: what it was taken for.
        entries: (name in the file, our layer, shape) of every array read.
        unused: what the file holds beyond, for which the network has no place.
        missing: layers of the network that keep their initial values, as a backbone file
            leaves the branches.
        notes: what else to know, such as a change made to the weights.
    """

    path: str
    kind: str
    entries: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def parameters(self):
        return sum(int(np.prod(shape)) for _, _, shape in self.entries)

    def __str__(self):
        lines = [
            f"{self.path}: {self.kind}: {len(self.entries)} arrays, {self.parameters:,} parameters"
        ]
        if self.unused:
            lines.append(f"  not used ({len(self.unused)}): {_some(self.unused)}")
        if self.missing:
            lines.append(
                f"  left as initialised ({len(self.missing)} layers): {_some(self.missing)}"
            )
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def table(self):
        """One line an array: its name in the file, our layer, its shape."""
        width = max((len(source) for source, _, _ in self.entries), default=0)
        return "\n".join(
            f"  {source:<{width}}  {layer:<24}  {shapes_text([shape])}"
            for source, layer, shape in self.entries
        )


def _some(names, shown=8):
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


@dataclass(frozen=True)
class Transfer:
    """One array of a file and where it goes.

    Attributes:
        source: its name in the file.
        layer: our layer.
        array: h5py dataset or NumPy view; its shape is that of the variables together.
        variables: what it fills; several share it along its input axis (the last but one).
        change: optional function on the array, for weights that are adapted.
        variance: whether it is a moving variance, which cannot be negative.
    """

    source: str
    layer: str
    array: object
    variables: tuple
    change: Callable | None = None
    variance: bool = False

    def read(self):
        values = np.asarray(self.array[...])
        return values if self.change is None else self.change(values)

    def check(self, path):
        """Raises WeightsError if the array cannot be right. Nothing is assigned."""
        if self.array.dtype.kind != "f":
            raise WeightsError(
                f"{path}: {self.source} holds {self.array.dtype}, not floating-point numbers"
            )
        values = self.read()
        if not np.isfinite(values).all():
            raise WeightsError(
                f"{path}: {self.source} ({self.layer}) holds values that are not finite: the "
                f"training that wrote it diverged or the file is damaged; {FETCH_AGAIN}"
            )
        if self.variance and (values < 0).any():
            raise WeightsError(
                f"{path}: {self.source} ({self.layer}) is a variance and holds negative values: "
                f"the file is damaged or of another network; {FETCH_AGAIN}"
            )

    def assign(self):
        values = self.read()
        if len(self.variables) == 1:
            self.variables[0].assign(values)
            return
        edges = np.cumsum([variable.shape[-2] for variable in self.variables[:-1]])
        for variable, part in zip(self.variables, np.split(values, edges, axis=-2), strict=True):
            variable.assign(part)


def slot_transfers(slot, sources, arrays, change=None):
    """The transfers of one slot.

    Args:
        slot: `weight_layouts.Slot`.
        sources, arrays: names and arrays of the file's layer, in the order of the slot.
        change: see `Transfer`; one function for each array, or None.
    """
    changes = change or [None] * len(arrays)
    return [
        Transfer(source, slot.layer, array, variables, function, slot.kind == "bn" and index == 3)
        for index, (source, array, variables, function) in enumerate(
            zip(sources, arrays, slot.targets, changes, strict=True)
        )
    ]


def fill(transfers, path):
    """Checks every array, then assigns them all.

    Files are read twice, so that neither a half-filled network nor a second copy of all weights
    in memory can come about.

    Returns:
        The entries of a `LoadReport`.

    Raises:
        WeightsError: an array cannot be read or cannot be right. Then nothing was assigned.
    """
    for transfer in transfers:
        transfer.check(path)
    for transfer in transfers:
        transfer.assign()
    return [(t.source, t.layer, tuple(t.array.shape)) for t in transfers]
