"""The state of a training run on disk: its last state, to go on from, and its best weights.

`last.state.h5` holds every variable of the network (the seeds of its dropout included), every
variable of the optimiser and a small record of progress, so that a run that was stopped and
resumed computes what it would have computed without the stop. Files are written beside their
final place and moved there when complete: a crash while saving leaves the previous state.
"""

import itertools
import json
import os
import re
import zlib
from pathlib import Path

import h5py
import numpy as np

from config.errors import UserError
from model.weights import save_weights

FORMAT = 1


class CheckpointError(UserError):
    """A state that cannot be restored; the message names the file and the way out."""


class Checkpoints:
    """Saves and restores a run in one folder.

    Args:
        folder: where `last.state.h5` and `best.weights.h5` are kept; made when first needed.
        model: network with its weights created.
        optimizer: Keras optimiser; it is built here unless it is already. Under a
            tf.distribute strategy create this object inside `strategy.scope()`.
        writer: whether this process writes; of several workers only one does.
    """

    def __init__(self, folder, model, optimizer, *, writer=True):
        self.folder = Path(folder)
        self.last_path = self.folder / "last.state.h5"
        self.best_path = self.folder / "best.weights.h5"
        self.model = model
        self.optimizer = optimizer
        self.writer = writer
        if not optimizer.built:
            optimizer.build(model.trainable_variables)

    def save_last(self, progress):
        """Writes the state of network and optimiser, and `progress`, to `last.state.h5`.

        Args:
            progress: dict of plain values, such as {"epoch": 3, "best_det_acc": 0.7}.

        Raises:
            OSError: the file cannot be written; the previous one is intact.
        """
        if not self.writer:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.last_path.with_name("partial-" + self.last_path.name)
        try:
            with h5py.File(partial, "w") as file:
                file.attrs["format"] = FORMAT
                file.attrs["progress"] = json.dumps(progress)
                for group, variables in self._state().items():
                    _write_group(file.create_group(group), variables)
            _flush_to_disk(partial)
            os.replace(partial, self.last_path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def restore_last(self):
        """Fills network and optimiser from `last.state.h5`.

        Returns:
            The progress that was saved with it, or None if there is no such file.

        Raises:
            CheckpointError: the file is damaged or of another network. Then nothing was assigned.
        """
        if not self.last_path.exists():
            return None
        try:
            with h5py.File(self.last_path, "r") as file:
                progress = self._read_progress(file)
                state = self._state()
                for group, variables in state.items():
                    self._compare(file, group, variables)
                # Read twice: once to see that all is sound, then to assign, so that neither a
                # half-filled network nor a second copy of everything in memory can come about.
                for group, variables in state.items():
                    for dataset, _ in self._pairs(file, group, variables):
                        self._read(dataset)
                for group, variables in state.items():
                    for dataset, variable in self._pairs(file, group, variables):
                        variable.assign(self._read(dataset))
        except (OSError, KeyError, RuntimeError) as error:  # What h5py raises on damaged files.
            raise self._damaged(error) from None
        return progress

    def save_best(self, det_acc, epoch, progress):
        """Writes `best.weights.h5` if `det_acc` exceeds the best so far.

        Args:
            det_acc: Acc@0.5 on the validation set, a fraction of one.
            epoch: the epoch it was measured after.
            progress: dict of the run; its "best_det_acc" and "best_epoch" are updated, so that
                `save_last` carries them into a resumed run.

        Returns:
            bool, whether these are the best weights so far.
        """
        best = progress.get("best_det_acc")
        if best is not None and not det_acc > best:
            return False
        if self.writer:
            save_weights(self.model, self.best_path)
        progress["best_det_acc"], progress["best_epoch"] = float(det_acc), int(epoch)
        return True

    def _state(self):
        return {"model": self.model.variables, "optimizer": self.optimizer.variables}

    def _read_progress(self, file):
        if "progress" not in file.attrs or file.attrs.get("format") != FORMAT:
            raise CheckpointError(
                f"{self.last_path}: is not a training state this version can read; "
                "delete it or set another log_path to start afresh"
            )
        try:
            return json.loads(file.attrs["progress"])
        except json.JSONDecodeError as error:
            raise self._damaged(error) from None

    def _compare(self, file, group, variables):
        """Raises CheckpointError at the first variable that differs in name or shape."""
        theirs = [(_path(dataset), dataset.shape) for dataset in _datasets(file[group])]
        ours = [(variable.path, tuple(variable.shape)) for variable in variables]
        for their, our in itertools.zip_longest(theirs, ours, fillvalue=("nothing", None)):
            if _without_counters(their[0]) != _without_counters(our[0]) or their[1] != our[1]:
                raise self._other_network(group, _text(*their), _text(*our))

    def _pairs(self, file, group, variables):
        return zip(_datasets(file[group]), variables, strict=True)

    def _read(self, dataset):
        array = dataset[()]
        if _checksum(array) != dataset.attrs["crc32"]:
            raise self._damaged(f"checksum of {_path(dataset)} differs")
        return array

    def _other_network(self, group, theirs, ours):
        return CheckpointError(
            f"{self.last_path}: is the state of another run: its {group} has {theirs} where this "
            f"one has {ours}. Set another log_path, restore the settings that the file was "
            "written with (config.json beside it), or delete the file to start afresh"
        )

    def _damaged(self, error):
        return CheckpointError(
            f"{self.last_path}: damaged, cannot be read ({error}). Delete it to start afresh, "
            f"from {self.best_path.name} if you set pretrained_weights to it"
        )


def _write_group(group, variables):
    for index, variable in enumerate(variables):
        array = np.asarray(variable.numpy())
        dataset = group.create_dataset(f"{index:05d}", data=array)
        dataset.attrs["path"] = variable.path
        dataset.attrs["crc32"] = _checksum(array)


def _datasets(group):
    return [group[key] for key in sorted(group)]


def _path(dataset):
    return str(dataset.attrs["path"])


def _checksum(array):
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _without_counters(path):
    """A variable's path without the numbers that Keras gives to layers it names by itself.

    They count what was built before in the process, which is no part of the network.
    """
    return re.sub(r"_\d+(?=[/_]|$)", "", path)


def _text(path, shape):
    return path if shape is None else f"{path} {'×'.join(map(str, shape)) or '(one number)'}"


def _flush_to_disk(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
