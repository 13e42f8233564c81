"""Best weights with which later ones cannot be compared, each in a folder of its own.

Each folder is laid out like that of a run: test.py, predict.py and `pretrained_weights` find the
settings that the weights were trained with, even if the run continues with different settings. The
files that the settings name are not copied: they must be as they were.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from config.errors import Hdf5Error
from config.files import numbered, remove_partial_files, write_bytes
from config.hdf5_file import CHECKSUM, opened_hdf5
from config.run_folder import BEST_WEIGHTS, SETTINGS_FILE
from utils.training.run.log import VERSIONS

NAME = re.compile(r"best(_seg|_ema)?\.epoch\d+(-\d+)?")


def keep_weights(
    run: Path, epoch: int, settings: Mapping[str, Any], file: str = BEST_WEIGHTS
) -> Path:
    """Moves the best weights of a run to a folder such as best.epoch3, with their settings.

    There, the file has the name `best.weights.h5`, like that of any run.

    The weights are moved last: where they are, their settings are, too. A folder that a killed
    process has left without them is completed by the next call.

    Args:
        run: the folder of the run.
        epoch: the epoch of the weights.
        settings: those of their training, of `utils.training.run.settings.run_settings`.
        file: the name of the file in `run`.

    Returns:
        The new path of the weights.

    Raises:
        NoSpaceError, OSError: a file cannot be written or moved. The weights stay then.
    """
    for folder in _folders(run, epoch, file):
        files = _records(run, folder, settings)
        if _is_free(folder, files):
            break
    for name, content in files.items():
        write_bytes(folder / name, content)
    return (run / file).rename(folder / BEST_WEIGHTS)


def kept_weights(
    run: Path, epoch: int, checksum: str | None, file: str = BEST_WEIGHTS
) -> Path | None:
    """The intact file to which `keep_weights` has moved the best weights of an epoch, if any.

    Args:
        run: the folder of the run.
        epoch: the epoch of the weights.
        checksum: of the file, see `fault_of_weights`.
        file: the name that it had in `run`.
    """
    folders = itertools.takewhile(os.path.lexists, _folders(run, epoch, file))
    paths = (folder / BEST_WEIGHTS for folder in folders)
    return next((path for path in paths if fault_of_weights(path, checksum) is None), None)


def is_kept(folder: Path) -> bool:
    """Whether a folder in that of a run has a name that `keep_weights` gives."""
    return NAME.fullmatch(folder.name) is not None


def fault_of_weights(path: Path, checksum: str | None) -> str | None:
    """What is wrong with a file of weights: None if it is complete and unchanged.

    Args:
        path: the file.
        checksum: the one that it was saved with; None if it is unknown.
    """
    try:
        with opened_hdf5(path) as file:
            if CHECKSUM not in file.attrs:
                return "is damaged (it has no checksum)"
            if checksum not in (None, file.attrs[CHECKSUM]):
                return "is not the file that this state was saved with"
            return None
    except FileNotFoundError:
        return "is missing"
    except (Hdf5Error, OSError) as error:
        return str(error)


def _folders(run: Path, epoch: int, file: str) -> Iterator[Path]:
    return numbered(run / f"{file.partition('.')[0]}.epoch{epoch}", "-")


def _records(run: Path, folder: Path, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """What is written beside the weights: name → content."""
    values = {key: value for key, value in settings.items() if key != "contents"}
    values["evaluate_model"] = str(folder / BEST_WEIGHTS)
    records = {SETTINGS_FILE: f"{json.dumps(values, indent=2)}\n".encode()}
    if (run / VERSIONS).is_file():
        records[VERSIONS] = (run / VERSIONS).read_bytes()
    return records


def _is_free(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether there is no such folder, or one with nothing but some of these files."""
    if not os.path.lexists(folder):
        return True
    if folder.is_symlink() or not folder.is_dir():
        return False
    for name in files:
        remove_partial_files(folder / name)
    found = list(folder.iterdir())
    return all(path.is_file() and path.read_bytes() == files.get(path.name) for path in found)
