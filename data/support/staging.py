"""Replacement of several folders or files together: all of them are new afterwards, or none is.

A kill between two renames can leave one target new and the other old. It also leaves a note beside
the first target, by which the next replacement completes the interrupted one before it starts.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import NoSpaceError
from config.files import locked, make_folder, no_space_named

IsOurs = Callable[[Path, Path], bool]


@dataclass(frozen=True)
class _Step:
    """The replacement of one target.

    Attributes:
        target, new, old: its path, the path it is prepared at, which is in a folder of its own,
            and the path the former one is moved to; all are on one disk.
        existed: whether there was a former one.
        written: whether there is a new one; otherwise the former one is removed.
    """

    target: Path
    new: Path
    old: Path
    existed: bool = False
    written: bool = False


@contextmanager
def replaced_together(
    *targets: Path, is_ours: IsOurs, durable: bool = True
) -> Iterator[tuple[Path, ...]]:
    """Prepares folders or files beside their targets and moves them into place together.

    If the block raises or is interrupted, the targets stay as they were and nothing else is left
    behind except an empty lock file. After a kill, the next replacement of the same targets cleans
    up: it completes an interrupted replacement and deletes an interrupted preparation. A target at
    whose staging path nothing was written is removed.

    Args:
        targets: folders or files, always in the same order; links are followed. Missing parent
            folders are created.
        is_ours: called for each file in a former target folder with the path at which that folder
            is now and the file's path relative to it, before anything in it is deleted; and for a
            former target that is a file with the path at which it is now and its name. Files for
            which it is true are replaced, that is, deleted. All others were not written by this
            program: they are moved to the new folder, or beside the new file.
        durable: whether to flush the new files to disk first, so that not even a crash of the
            machine loses both the old and the new ones.

    Yields:
        One path per target, at which nothing exists yet.

    Raises:
        UserError: another process is replacing the first target.
        FolderError: the path of a target leads through a file.
        NoSpaceError: the disk is full; the message names the target.
    """
    resolved = [Path(os.path.realpath(target)) for target in targets]
    for target in resolved:
        make_folder(target.parent)
    first = resolved[0]
    message = f"another process is writing {targets[0]}; wait until it has ended"
    with no_space_named(first), locked(lock_file(first), message):
        for target in resolved:
            _clean_up(target, is_ours)
        key = uuid.uuid4().hex
        note = _beside(first, key, "note")
        steps = [_step(target, key) for target in resolved]
        try:
            for step in steps:
                step.new.parent.mkdir()
            with _targets_named(steps):
                yield tuple(step.new for step in steps)
                steps = [_observed(step) for step in steps]
                for step in steps if durable else ():
                    _flush(step.new)
                _write_note(note, steps)
                _swap(steps)
        except BaseException:
            _roll_back(steps)
            note.unlink(missing_ok=True)
            for step in steps:
                shutil.rmtree(step.new.parent, ignore_errors=True)
            raise
        _finish(note, steps, is_ours)


def lock_file(target: Path) -> Path:
    """The lock of all replacements whose first target this is; once created, it stays."""
    return target.with_name(f".{target.name}.lock")


def _beside(target: Path, key: str, kind: str) -> Path:
    return target.with_name(f".{target.name}.{key}.{kind}")


def _step(target: Path, key: str, **states: bool) -> _Step:
    new = _beside(target, key, "new") / target.name
    return _Step(target, new, _beside(target, key, "old"), **states)


def _observed(step: _Step) -> _Step:
    """The step with what is on disk before any rename."""
    existed, written = os.path.lexists(step.target), os.path.lexists(step.new)
    return _Step(step.target, step.new, step.old, existed, written)


def _swap(steps: Sequence[_Step]) -> None:
    """Moves old targets aside and new ones into place; goes on where it was interrupted."""
    for step in steps:
        if step.existed and not os.path.lexists(step.old):
            step.target.rename(step.old)
        if os.path.lexists(step.new):
            step.new.rename(step.target)


def _roll_back(steps: Sequence[_Step]) -> None:
    """Undoes `_swap`, wherever it was interrupted."""
    for step in reversed(steps):
        if step.existed and not os.path.lexists(step.old):
            continue  # It was not reached.
        if step.written and not os.path.lexists(step.new):
            step.target.rename(step.new)
        if step.existed:
            step.old.rename(step.target)


def _clean_up(target: Path, is_ours: IsOurs) -> None:
    """Completes what killed processes left of replacements of a target; requires the lock."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.([0-9a-f]{{32}})\.(note|new|old)")
    found = [match for file in target.parent.iterdir() if (match := pattern.fullmatch(file.name))]
    for match in found:
        note = target.with_name(match[0])
        if match[2] == "note":
            steps = _read_note(note, match[1])
            _swap(steps)
            _finish(note, steps, is_ours)
    for match in found:
        path = target.with_name(match[0])
        if match[2] == "new":
            shutil.rmtree(path, ignore_errors=True)
        elif match[2] == "old":
            _discard(path, target, is_ours)


def _finish(note: Path, steps: Sequence[_Step], is_ours: IsOurs) -> None:
    """Deletes what a complete replacement leaves; until then it can be completed again."""
    note.unlink()
    for step in steps:
        _discard(step.old, step.target, is_ours)
        shutil.rmtree(step.new.parent, ignore_errors=True)


def _write_note(note: Path, steps: Sequence[_Step]) -> None:
    """Writes the note, from which on the replacement is completed rather than undone."""
    entries = [
        {
            "target": os.path.relpath(step.target, note.parent),
            "existed": step.existed,
            "written": step.written,
        }
        for step in steps
    ]
    draft = steps[0].new.with_name(note.name)
    draft.write_text(json.dumps(entries) + "\n", encoding="utf-8")
    _flush(draft)
    draft.rename(note)


def _read_note(note: Path, key: str) -> list[_Step]:
    entries: list[dict[str, Any]] = json.loads(note.read_text(encoding="utf-8"))
    return [
        _step(
            Path(os.path.normpath(note.parent / entry["target"])),
            key,
            existed=entry["existed"],
            written=entry["written"],
        )
        for entry in entries
    ]


def _discard(old: Path, target: Path, is_ours: IsOurs) -> None:
    """Deletes our files of a former target and moves all others to the new one."""
    if not os.path.lexists(old):
        return
    if not old.is_dir():
        if is_ours(old, Path(target.name)):
            old.unlink()
        else:
            old.rename(_free_name(target))
        return
    for folder, subfolders, files in os.walk(old):
        here = Path(folder)
        links = [name for name in subfolders if (here / name).is_symlink()]
        for path in (here / name for name in [*files, *links]):
            relative = path.relative_to(old)
            if not is_ours(old, relative):
                kept = target / relative
                kept.parent.mkdir(parents=True, exist_ok=True)
                path.rename(_free_name(kept))
    # What is left is ours. After a kill, `is_ours` could not tell it from a part of the files, but
    # the next replacement deletes whatever is in this folder.
    rest = old.with_suffix(".new")
    rest.mkdir(exist_ok=True)
    old.rename(rest / target.name)
    shutil.rmtree(rest, ignore_errors=True)


def _free_name(path: Path) -> Path:
    """The path itself, or one beside it if it is taken, so that a move overwrites nothing."""
    number = 1
    free = path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _flush(path: Path) -> None:
    """Flushes a file, or all files of a folder, to disk."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


@contextmanager
def _targets_named(steps: Sequence[_Step]) -> Iterator[None]:
    """Names the targets instead of the staging paths in the message of a full disk."""
    try:
        yield
    except NoSpaceError as error:
        message = str(error)
        for step in steps:
            message = message.replace(str(step.new), str(step.target))
        raise NoSpaceError(message) from None
