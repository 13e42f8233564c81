"""The log folder of a run: one run per folder, resumed only by settings that fit it."""

import datetime
import errno
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from config.command_line import counted
from config.errors import UserError
from config.files import first_free, locked, numbered
from config.run_folder import SETTINGS_FILE
from utils.training.run.checkpoints import BEST, BESTS, LAST, NEXT, PREVIOUS, read_run_state
from utils.training.run.kept_weights import is_kept
from utils.training.run.log import EPOCHS, VERSIONS
from utils.training.run.settings import compare_settings, optimizer_changes
from utils.training.run.state import RunState

LOCK = ".lock"
FEATURES = "features"  # Default folder of the cached features; they identify themselves.
# Each of them shows that a folder is that of a run; others write config.json, too.
OF_RUNS = frozenset({LAST, PREVIOUS, NEXT, *BESTS, EPOCHS, VERSIONS})
# Settings that name files and folders which a training reads whenever it starts.
READ = (
    "train_set", "evaluate_set", "seg_gt_path", "image_path", "anchors_file", "word_embed",
    "bert_path", "pretrained_weights", "cache_dir",
)  # fmt: skip


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
        results = [name for name in (*BESTS, EPOCHS) if (folder / name).exists()]
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
        RunFolderError: settings have changed that make it another run, or, also with `force`,
            those that its optimizer was built with.
    """
    if built := optimizer_changes(state.settings, settings):
        raise RunFolderError(
            f"{folder}: the optimizer of this run was built with other settings "
            f"({'; '.join(built)}), so it cannot be resumed with these; restore them, or start "
            f"from its best weights with --set pretrained_weights={folder} and another log_path"
        )
    changes = compare_settings(state.settings, settings)
    if changes.refused and not force:
        raise RunFolderError(
            f"{folder}: this run began with other settings ({'; '.join(changes.refused)}). "
            "Restore them, set another log_path, start afresh with --overwrite, or resume all the "
            "same with --resume force"
        )
    return [*changes.refused, *changes.printed]


def check_overwrite(folder: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Checks that `move_away` can move an earlier run, and would move nothing else.

    Args:
        folder: config.log_path.
        settings: of the run that is to start; the files and folders of `READ` must not move.

    Raises:
        RunFolderError: it would move one of them, a folder that is not that of a run, or another
            run inside; or the folder cannot be renamed.
    """
    real = Path(folder).resolve()
    for key in READ:
        # A name without a slash is that of a package or of registered weights.
        if "/" in settings[key] and _moves_with(real, Path(settings[key])):
            raise RunFolderError(
                f"{key} = {settings[key]}: --overwrite would move it with the earlier run; copy it "
                f"to another folder and set {key} to the copy, or set another log_path"
            )
    _check_is_folder(real)
    if _is_occupied(real):
        _check_is_one_run(real)
        if os.path.ismount(real):
            raise _not_renamed(real, os.strerror(errno.EBUSY))


def move_away(folder: str | os.PathLike) -> Path | None:
    """Renames the folder of an earlier run to "<folder>.old-<date>", for a fresh start.

    Cached features stay in the folder of the new run. If the folder is a link, its target is
    renamed, so that the new run is on the same disk as the earlier one.

    Returns:
        The new path; None if there was no folder, or nothing else in it.

    Raises:
        UserError: another process is training in it, it is not the folder of one run, or it
            cannot be renamed.
    """
    folder = Path(folder).resolve()
    _check_is_folder(folder)
    if not _is_occupied(folder):
        return None
    dated = f"{folder.name}.old-{datetime.date.today().isoformat()}"
    old = first_free(numbered(folder.with_name(dated), "-"))
    with held_folder(folder):
        _check_is_one_run(folder)
        try:
            folder.rename(old)
        except OSError as error:
            raise _not_renamed(folder, str(error.strerror)) from None
        folder.mkdir()  # A link to it would lead nowhere.
        if (old / FEATURES).is_dir():
            (old / FEATURES).rename(folder / FEATURES)
    return old


def _is_occupied(folder: Path) -> bool:
    """Whether a folder contains more than what a new run continues to use."""
    return folder.exists() and not {path.name for path in folder.iterdir()} <= {LOCK, FEATURES}


def _moves_with(folder: Path, path: Path) -> bool:
    """Whether a path leads into a folder, by its names or by its links, and not to `FEATURES`."""
    target = path.resolve()
    if target.is_relative_to((folder / FEATURES).resolve()):
        return False
    return target.is_relative_to(folder) or any(part.resolve() == folder for part in path.parents)


def _check_is_one_run(folder: Path) -> None:
    """Raises RunFolderError unless a folder is that of a run and contains no other run."""
    names = sorted(path.name for path in folder.iterdir())
    if OF_RUNS.isdisjoint(names):
        raise RunFolderError(
            f"log_path = {folder}: holds no run that --overwrite could move, but other files and "
            f"folders: {counted(names)}; omit --overwrite, or set another log_path"
        )
    for path in (folder / name for name in names if name != FEATURES):
        kept = {BEST, VERSIONS} if is_kept(path) else set()
        for inner, _, files in os.walk(path):
            if OF_RUNS.intersection(files) - (kept if Path(inner) == path else set()):
                raise RunFolderError(
                    f"log_path = {folder}: --overwrite would move another run with this one: "
                    f"{inner}; move that one to another folder, or set another log_path"
                )


def _not_renamed(folder: Path, reason: str) -> RunFolderError:
    return RunFolderError(
        f"log_path = {folder}: --overwrite cannot rename this folder ({reason}), as if a disk is "
        "mounted there; set log_path to another folder, such as a new one inside it"
    )


def _check_are_files(folder: Path) -> None:
    names = (LAST, PREVIOUS, NEXT, *BESTS, SETTINGS_FILE, VERSIONS, EPOCHS)
    paths = [folder / name for name in names]
    if others := [str(path) for path in paths if path.exists() and not path.is_file()]:
        raise RunFolderError(
            f"{', '.join(others)}: not a file, and the run writes one of this name; move it away, "
            "or set another log_path"
        )


def _check_is_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"log_path = {folder}: is a file; name a folder")
