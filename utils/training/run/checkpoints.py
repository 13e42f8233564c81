"""The state of a training run on disk: two generations of it, and its best weights.

A state contains every variable of the network, including the seeds of its dropout, every variable
of the optimizer and the `RunState`. A run that was stopped and resumed therefore computes exactly
what it would have computed without the stop. `last.state.h5` is replaced only once the new state is
complete, and stays as `previous.state.h5`, in case the disk damages the new one.
"""

import itertools
import json
import os
import re
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
import numpy as np

from config.errors import Hdf5Error, UserError
from config.files import remove_partial_files
from config.hdf5_file import CHECKSUM, opened_hdf5, written_hdf5
from config.run_folder import BEST_EMA, BEST_SEG, BEST_WEIGHTS
from model.weights import save_weights
from utils.training.run.kept_weights import fault_of_weights
from utils.training.run.state import RunState

FORMAT = 3
LAST, PREVIOUS, BEST = "last.state.h5", "previous.state.h5", BEST_WEIGHTS
BESTS = (BEST, BEST_SEG, BEST_EMA)
NEXT = "next.state.h5"  # Complete, and not yet in its place.
WHAT_HELPS = (
    "Try a smaller lr, warmup_steps, or clip_norm=10; if the last state is spoiled already, move "
    "last.state.h5 away to resume from the one before it"
)


class CheckpointError(UserError):
    """A state cannot be saved or restored; the message names the file and what to do."""


class DamagedError(CheckpointError):
    """The file of a state is damaged."""


class Checkpoints:
    """Saves and restores a run in one folder.

    Args:
        folder: where the files are kept; created when needed.
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
        self.last_path, self.previous_path = self.folder / LAST, self.folder / PREVIOUS
        self.best_path = self.folder / BEST
        self.model = model
        self.optimizer = optimizer
        self.writer = writer
        self._last_is_damaged = False
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        # Updates of the network that the last state contains.
        self._saved_updates = int(optimizer.iterations.numpy())

    @property
    def found(self) -> list[Path]:
        """The files of the states that exist, the last one first."""
        return [path for path in (self.last_path, self.previous_path) if path.exists()]

    def save(self, state: RunState) -> None:
        """Writes the variables of network and optimizer, and `state`, to `last.state.h5`.

        The state that was there becomes the previous one, unless no step has updated the network
        since: an update that spoiled it, so that all steps after it are skipped, then leaves the
        state from before it as the previous one.

        Raises:
            CheckpointError: a variable is not finite. Nothing was written then.
            NoSpaceError, OSError: the file cannot be written; the earlier ones stay unchanged.
        """
        if not self.writer:
            return
        next_path = self.folder / NEXT
        for name in (LAST, PREVIOUS, NEXT, *BESTS):
            # What a process left that was killed while saving.
            remove_partial_files(self.folder / name)
        with written_hdf5(next_path) as file:
            file.attrs["format"] = FORMAT
            # Not an attribute: the history may exceed the 64 kB that HDF5 allows for those.
            text = json.dumps(state.to_dict()).encode()
            file["run_state"] = np.frombuffer(text, np.uint8)
            for group, variables in self._variables().items():
                _write_group(file.create_group(group), variables, state.position)
        updates = int(self.optimizer.iterations.numpy())
        updated = updates > self._saved_updates
        if self.last_path.exists() and updated and not self._last_is_damaged:
            _keep(self.last_path, self.previous_path)
        next_path.replace(self.last_path)
        self._last_is_damaged, self._saved_updates = False, updates

    def restore(self) -> RunState | None:
        """Fills network and optimizer from `last.state.h5`, or from the one before.

        The earlier state is used, with a warning, if the last one is damaged.

        Returns:
            The `RunState` saved with them, or None if there is no state.

        Raises:
            CheckpointError: the states are damaged or belong to another network. Nothing has been
                assigned then.
        """
        damages = []
        for path in self.found:
            try:
                state = self._restore(path)
            except DamagedError as error:
                damages.append(str(error))
                # The next save replaces it instead of keeping it as the previous state.
                self._last_is_damaged |= path == self.last_path
                continue
            if self.writer and (path != self.last_path or damages):
                warnings.warn(
                    f"{damages[0] if damages else f'{self.last_path}: is missing'}; "
                    f"{path.name} is used, the state before it",
                    stacklevel=2,
                )
            return state
        if damages:
            raise _unusable(self.folder, damages)
        return None

    def _restore(self, path: Path) -> RunState:
        with _opened_state(path) as file:
            state = _run_state(file)
            groups = self._variables().items()
            for group, variables in groups:
                self._compare(file, group, variables, path)
            for group, variables in groups:
                for dataset, variable in zip(_datasets(file[group]), variables, strict=True):
                    variable.assign(dataset[()])
        self._saved_updates = int(self.optimizer.iterations.numpy())
        return state

    def save_best(self, file: str = BEST) -> str | None:
        """Writes the weights of the network to `best.weights.h5`, or to another file of `BESTS`.

        Returns:
            The checksum that seals the file; None on a worker that does not write.

        Raises:
            CheckpointError: a weight is not finite. Nothing was written then.
            NoSpaceError, OSError: the file cannot be written; the earlier one stays unchanged.
        """
        if not self.writer:
            return None
        for variable in self.model.variables:
            _finite(variable, file)
        save_weights(self.model, self.folder / file)
        with h5py.File(self.folder / file) as saved:
            return str(saved.attrs[CHECKSUM])

    def fault_of_best(self, expected: str | None = None, file: str = BEST) -> str | None:
        """What is wrong with the file of best weights: None if it is complete and unchanged.

        Args:
            expected: the checksum that `save_best` returned; None if it is unknown.
            file: as for `save_best`.
        """
        return fault_of_weights(self.folder / file, expected)

    def variables(self) -> list[keras.Variable]:
        """All variables of network and optimizer."""
        return [variable for group in self._variables().values() for variable in group]

    def _variables(self) -> dict[str, list[keras.Variable]]:
        return {"model": self.model.variables, "optimizer": self.optimizer.variables}

    def _compare(
        self, file: h5py.File, group: str, variables: Iterable[keras.Variable], path: Path
    ) -> None:
        """Raises CheckpointError at the first variable that differs in name or shape."""
        stored = [(_path(dataset), dataset.shape) for dataset in _datasets(file[group])]
        built = [(variable.path, tuple(variable.shape)) for variable in variables]
        for theirs, ours in itertools.zip_longest(stored, built, fillvalue=("nothing", None)):
            if _without_counters(theirs[0]) != _without_counters(ours[0]) or theirs[1] != ours[1]:
                raise CheckpointError(
                    f"{path}: belongs to another run: its {group} has {_text(*theirs)} where this "
                    f"one has {_text(*ours)}. Restore the settings of that run (config.json beside "
                    "it), set another log_path, or start afresh with --overwrite"
                )


def read_run_state(folder: str | os.PathLike) -> RunState | None:
    """Reads the `RunState` that a folder holds, without a network.

    Returns:
        The state that `Checkpoints.restore` would return, or None if there is none, or if both
        generations are damaged.

    Raises:
        CheckpointError: the state was written by another version.
    """
    for path in (Path(folder) / LAST, Path(folder) / PREVIOUS):
        try:
            with _opened_state(path) as file:
                return _run_state(file)
        except (FileNotFoundError, DamagedError):
            continue
    return None


@contextmanager
def _opened_state(path: Path) -> Iterator[h5py.File]:
    """Opens the file of a state, whose checksum must be present and right."""
    try:
        with opened_hdf5(path) as file:
            if file.attrs.get("format") != FORMAT or "run_state" not in file:
                # Not replaced by the state before it: it may be a file of somebody else.
                has_earlier = path.name == LAST and path.with_name(PREVIOUS).exists()
                earlier = f"move it away to resume from {PREVIOUS}, " if has_earlier else ""
                raise CheckpointError(
                    f"{path}: not a training state that this version can read; {earlier}set "
                    "another log_path, or start afresh with --overwrite, which keeps the old folder"
                )
            if CHECKSUM not in file.attrs:
                raise Hdf5Error("is damaged (it has no checksum)")
            yield file
    except Hdf5Error as error:
        raise DamagedError(f"{path}: {error}") from None


def _run_state(file: h5py.File) -> RunState:
    return RunState.from_dict(json.loads(file["run_state"][()].tobytes()))


def _unusable(folder: Path, damages: list[str]) -> CheckpointError:
    return CheckpointError(
        f"{'; '.join(damages)}. Start afresh with --overwrite, which keeps this folder under "
        f"another name; to start from the best weights, copy {folder / BEST} to another folder "
        "before and set pretrained_weights to the copy"
    )


def _keep(path: Path, copy: Path) -> None:
    """Moves a file to `copy`, but so that `path` exists until it is replaced."""
    temporary = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}.tmp")
    try:
        os.link(path, temporary)
    except OSError:  # This file system has no hard links.
        path.replace(copy)
        return
    temporary.replace(copy)
    # Renaming does nothing if both names already belong to one file.
    temporary.unlink(missing_ok=True)


def _write_group(group: h5py.Group, variables: Iterable[keras.Variable], position: str) -> None:
    for index, variable in enumerate(variables):
        dataset = group.create_dataset(f"{index:05d}", data=_finite(variable, position))
        dataset.attrs["path"] = variable.path


def _finite(variable: keras.Variable, saved: str) -> np.ndarray:
    """The value of a variable; raises CheckpointError if it is NaN or infinite.

    The step that made it so is one of those after the last state: the message names what is saved.
    """
    array = np.asarray(variable.numpy())
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CheckpointError(
            f"{saved}: {variable.path} is not finite; nothing was saved, so the earlier state "
            f"stays. {WHAT_HELPS}"
        )
    return array


def _datasets(group: h5py.Group) -> list[h5py.Dataset]:
    return [group[key] for key in sorted(group)]


def _path(dataset: h5py.Dataset) -> str:
    return str(dataset.attrs["path"])


def _without_counters(path: str) -> str:
    """A variable's path without the numbers that Keras appends to automatic layer names.

    They count the layers built earlier in the process and say nothing about the network.
    """
    return re.sub(r"_\d+(?=[/_]|$)", "", path)


def _text(path: str, shape: tuple[int, ...] | None) -> str:
    return path if shape is None else f"{path} {'×'.join(map(str, shape)) or '(a scalar)'}"
