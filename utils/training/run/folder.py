"""The log folder of a run: one run per folder, resumed only by settings that fit it."""

import datetime
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import first_free, locked
from config.run_folder import SETTINGS_FILE
from utils.training.run.checkpoints import BEST, LAST, NEXT, PREVIOUS, read_run_state
from utils.training.run.log import EPOCHS, VERSIONS
from utils.training.run.settings import compare_settings
from utils.training.run.state import RunState

LOCK = ".lock"
FEATURES = "features"  # Default folder of the cached features; they identify themselves.


class RunFolderError(UserError):
    """A folder cannot be used by a run; the message names it and what to do."""


def held_folder(folder: str | os.PathLike) -> AbstractContextManager[None]:
    """Locks the folder of a run during a `with` block.

    Raises:
        UserError: another process is training in it, or it is a file.
    """
    _check_is_folder(Path(folder))
    message = (
        f"{folder}: another process is training in this folder; wait until it ends, or set "
        "another log_path"
    )
    return locked(Path(folder) / LOCK, message)


def check_resumption(
    folder: str | os.PathLike, settings: Mapping[str, Any], *, force: bool = False
) -> None:
    """Checks that a run with these settings may start or resume in a folder.

    Early, and without the lock of the folder: `check_changes` is asked again under it.

    Args:
        folder: config.log_path.
        settings: of `utils.training.run.settings.run_settings`.
        force: whether to resume whatever has changed.

    Raises:
        RunFolderError: the folder holds results without a state to resume from, something else in
            the place of its files, or settings have changed that make it another run.
    """
    folder = Path(folder)
    _check_is_folder(folder)
    _check_are_files(folder)
    state = read_run_state(folder)
    if state is None:
        results = [name for name in (BEST, EPOCHS) if (folder / name).exists()]
        if results and not any((folder / name).exists() for name in (LAST, PREVIOUS)):
            raise RunFolderError(
                f"{folder}: holds the results of another run ({', '.join(results)}) and no state "
                "to resume from; set another log_path, or start afresh with --overwrite, which "
                "keeps the old folder under another name"
            )
    else:
        check_changes(folder, state, settings, force=force)


def check_changes(
    folder: str | os.PathLike, state: RunState, settings: Mapping[str, Any], *, force: bool = False
) -> list[str]:
    """Checks that a run may resume from a state with these settings.

    Args:
        folder: config.log_path.
        state: read from it.
        settings: of `utils.training.run.settings.run_settings`.
        force: whether to resume whatever has changed.

    Returns:
        The changed settings, as "lr: 0.001 → 0.0005".

    Raises:
        RunFolderError: settings have changed that make it another run.
    """
    changes = compare_settings(state.settings, settings)
    if changes.refused and not force:
        raise RunFolderError(
            f"{folder}: this run began with other settings ({'; '.join(changes.refused)}). "
            "Restore them, set another log_path, start afresh with --overwrite, or resume all the "
            "same with --resume force"
        )
    return [*changes.refused, *changes.printed]


def check_stays(weights: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Checks that `move_away` would not move the weights that a run starts from.

    Args:
        weights: config.pretrained_weights; empty for none.
        folder: config.log_path.

    Raises:
        RunFolderError: it would, and the run could not be resumed without them.
    """
    if weights and Path(weights).resolve().is_relative_to(Path(folder).resolve()):
        raise RunFolderError(
            f"pretrained_weights = {weights}: --overwrite would move this file with the earlier "
            "run; copy it to another folder and set pretrained_weights to the copy"
        )


def move_away(folder: str | os.PathLike) -> Path | None:
    """Renames the folder of an earlier run to "<folder>.old-<date>", for a fresh start.

    Cached features stay in the folder of the new run.

    Returns:
        The new path; None if there was no folder, or nothing else in it.

    Raises:
        UserError: another process is training in it.
        OSError: it cannot be renamed.
    """
    folder = Path(folder)
    _check_is_folder(folder)
    if not folder.exists() or {path.name for path in folder.iterdir()} <= {LOCK, FEATURES}:
        return None
    dated = f"{folder.name}.old-{datetime.date.today().isoformat()}"
    names = (dated, *(f"{dated}-{number}" for number in range(2, 10_000)))
    old = first_free(map(folder.with_name, names))
    with held_folder(folder):
        folder.rename(old)
        if (old / FEATURES).is_dir():
            folder.mkdir()
            (old / FEATURES).rename(folder / FEATURES)
    return old


def _check_are_files(folder: Path) -> None:
    names = (LAST, PREVIOUS, NEXT, BEST, SETTINGS_FILE, VERSIONS)
    paths = [folder / name for name in names]
    if others := [str(path) for path in paths if path.exists() and not path.is_file()]:
        raise RunFolderError(
            f"{', '.join(others)}: not a file, and the run writes one of this name; move it away, "
            "or set another log_path"
        )


def _check_is_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"log_path = {folder}: is a file; name a folder")
