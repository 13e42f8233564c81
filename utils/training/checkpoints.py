"""The state of a training run on disk: its last state, to resume from, and its best weights.

`last.state.h5` contains every variable of the network, including the seeds of its dropout, every
variable of the optimizer and the `RunState`. A run that was stopped and resumed therefore computes
exactly what it would have computed without the stop. Files are replaced only once they are
complete: a crash while saving leaves the previous state.
"""

import itertools
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import h5py
import keras
import numpy as np

from config.errors import UserError
from config.files import written_atomically
from model.weights import save_weights
from utils.training.run_state import RunState

FORMAT = 2


class CheckpointError(UserError):
    """A state that cannot be restored; the message names the file and what to do."""


class Checkpoints:
    """Saves and restores a run in one folder.

    Args:
        folder: where `last.state.h5` and `best.weights.h5` are kept; created when needed.
        model: network whose weights exist.
        optimizer: Keras optimizer; it is built here unless it already is. Under a tf.distribute
            strategy, create this object inside `strategy.scope()`.
        writer: whether this process writes; of several workers, only one does.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        writer: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.last_path = self.folder / "last.state.h5"
        self.best_path = self.folder / "best.weights.h5"
        self.model = model
        self.optimizer = optimizer
        self.writer = writer
        if not optimizer.built:
            optimizer.build(model.trainable_variables)

    def save_last(self, state: RunState) -> None:
        """Writes the variables of network and optimizer, and `state`, to `last.state.h5`.

        Raises:
            OSError: the file cannot be written; the previous one stays unchanged.
        """
        if not self.writer:
            return
        with (
            written_atomically(self.last_path, durable=True) as opened,
            h5py.File(opened, "w") as file,
        ):
            file.attrs["format"] = FORMAT
            file.attrs["run_state"] = json.dumps(asdict(state))
            for group, variables in self._variables().items():
                _write_group(file.create_group(group), variables)

    def restore_last(self) -> RunState | None:
        """Fills network and optimizer from `last.state.h5`.

        Returns:
            The `RunState` saved with them, or None if there is no such file.

        Raises:
            CheckpointError: the file is damaged or belongs to another network. Nothing has been
                assigned then.
        """
        if not self.last_path.exists():
            return None
        try:
            with h5py.File(self.last_path, "r") as file:
                state = self._read_run_state(file)
                groups = self._variables().items()
                for group, variables in groups:
                    self._compare(file, group, variables)
                # Every array is read twice, to check all of them before the first is assigned,
                # without a second copy of everything in memory.
                for group, variables in groups:
                    for dataset, _ in _pairs(file, group, variables):
                        self._read(dataset)
                for group, variables in groups:
                    for dataset, variable in _pairs(file, group, variables):
                        variable.assign(self._read(dataset))
        except (OSError, KeyError, RuntimeError) as error:  # What h5py raises for damaged files.
            raise self._damaged(error) from None
        return state

    def save_best(self) -> None:
        """Writes the weights of the network to `best.weights.h5`.

        Raises:
            OSError: the file cannot be written; the previous one stays unchanged.
        """
        if self.writer:
            save_weights(self.model, self.best_path)

    def _variables(self) -> dict[str, list[keras.Variable]]:
        return {"model": self.model.variables, "optimizer": self.optimizer.variables}

    def _read_run_state(self, file: h5py.File) -> RunState:
        if "run_state" not in file.attrs or file.attrs.get("format") != FORMAT:
            raise CheckpointError(
                f"{self.last_path}: not a training state that this version can read; delete it, or "
                "set another log_path, to start from the beginning"
            )
        try:
            return RunState(**json.loads(file.attrs["run_state"]))
        except (json.JSONDecodeError, TypeError) as error:
            raise self._damaged(error) from None

    def _compare(self, file: h5py.File, group: str, variables: Iterable[keras.Variable]) -> None:
        """Raises CheckpointError at the first variable that differs in name or shape."""
        stored = [(_path(dataset), dataset.shape) for dataset in _datasets(file[group])]
        built = [(variable.path, tuple(variable.shape)) for variable in variables]
        for theirs, ours in itertools.zip_longest(stored, built, fillvalue=("nothing", None)):
            if _without_counters(theirs[0]) != _without_counters(ours[0]) or theirs[1] != ours[1]:
                raise CheckpointError(
                    f"{self.last_path}: belongs to another run: its {group} has {_text(*theirs)} "
                    f"where this one has {_text(*ours)}. Set another log_path, restore the "
                    "settings of that run (config.json beside it), or delete the file to start "
                    "from the beginning"
                )

    def _read(self, dataset: h5py.Dataset) -> np.ndarray:
        array = dataset[()]
        if _checksum(array) != dataset.attrs["crc32"]:
            raise self._damaged(f"wrong checksum of {_path(dataset)}")
        return array

    def _damaged(self, error: object) -> CheckpointError:
        return CheckpointError(
            f"{self.last_path}: damaged, cannot be read ({error}). Delete it to start from the "
            f"beginning; to start from the best weights, also set "
            f"pretrained_weights={self.best_path}"
        )


def _write_group(group: h5py.Group, variables: Iterable[keras.Variable]) -> None:
    for index, variable in enumerate(variables):
        array = np.asarray(variable.numpy())
        dataset = group.create_dataset(f"{index:05d}", data=array)
        dataset.attrs["path"] = variable.path
        dataset.attrs["crc32"] = _checksum(array)


def _pairs(
    file: h5py.File, group: str, variables: Iterable[keras.Variable]
) -> Iterator[tuple[h5py.Dataset, keras.Variable]]:
    return zip(_datasets(file[group]), variables, strict=True)


def _datasets(group: h5py.Group) -> list[h5py.Dataset]:
    return [group[key] for key in sorted(group)]


def _path(dataset: h5py.Dataset) -> str:
    return str(dataset.attrs["path"])


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _without_counters(path: str) -> str:
    """A variable's path without the numbers that Keras appends to automatic layer names.

    They count the layers built earlier in the process and say nothing about the network.
    """
    return re.sub(r"_\d+(?=[/_]|$)", "", path)


def _text(path: str, shape: tuple[int, ...] | None) -> str:
    return path if shape is None else f"{path} {'×'.join(map(str, shape)) or '(a scalar)'}"
