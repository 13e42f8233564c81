"""Replacement of several folders or files together: all of them are new afterwards, or none is.

A kill between two renames can leave one target new and the other old. It also leaves a note beside
the first target, by which the next replacement completes the interrupted one before it starts. The
note lists the former files that may be deleted: whose a file is is decided once, in its place. What
is put in the place of a target or changed after the kill is kept.
"""

import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.errors import NoSpaceError, UserError
from config.files import first_free, locked, make_folder, no_space_named, numbered
from config.signals import deferred_stop

IsOurs = Callable[[Path, Path], bool]


@dataclass(frozen=True)
class _Step:
    """The replacement of one target.

    Attributes:
        target, new, old: its path, the path it is prepared at, which is in a folder of its own,
            and the path the former one is moved to; all are on one disk.
        existed: whether there was a former one.
        written: whether there is a new one; otherwise the former one is removed.
        ours: the former files to delete, relative to a folder, or "." for a target that is a file
            → time of their last modification in ns.
    """

    target: Path
    new: Path
    old: Path
    existed: bool = False
    written: bool = False
    ours: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def replaced_together(
    *targets: Path, is_ours: IsOurs, durable: bool = True
) -> Iterator[tuple[Path, ...]]:
    """Prepares folders or files beside their targets and moves them into place together.

    If the block raises or is interrupted, the targets stay as they were and nothing else is left
    behind except an empty lock file in each folder of targets. A signal that comes later waits
    until all of them are new. After a kill, the next replacement of the same targets cleans up: it
    completes an interrupted replacement and deletes an interrupted preparation. A target at whose
    staging path nothing was written is removed.

    Args:
        targets: folders or files, always in the same order; links are followed. Missing parent
            folders are created.
        is_ours: called at the end of the block, before anything is moved, for each file in an
            existing target folder with that folder and the file's path relative to it, and for an
            existing target that is a file with its folder and its name. Files for which it is true
            are replaced, that is, deleted. All others were not written by this program: they are
            moved to the new folder, or beside the new file.
        durable: whether to flush the new files to disk first, so that not even a crash of the
            machine loses both the old and the new ones.

    Yields:
        One path per target, at which nothing exists yet.

    Raises:
        UserError: another process is replacing targets of these, or has deleted what was written.
        FolderError: the path of a target leads through a file.
        NoSpaceError: the disk is full; the message names the target.
    """
    resolved = [_resolved(target) for target in targets]
    for target in resolved:
        make_folder(target.parent)
    with no_space_named(resolved[0]), _locked(*targets), ExitStack() as until_the_end:
        for target in resolved:
            _clean_up(target)
        key = uuid.uuid4().hex
        note = _beside(resolved[0], key, "note")
        steps = [_step(target, key) for target in resolved]
        try:
            for step in steps:
                step.new.parent.mkdir()
            with _targets_named(steps):
                yield tuple(step.new for step in steps)
                for step in steps if durable else ():
                    _flush(step.new)
                steps = [_observed(*pair, is_ours) for pair in zip(steps, targets, strict=True)]
                until_the_end.enter_context(deferred_stop())
                _write_note(note, steps)
                _swap(steps)
        except BaseException:
            _roll_back(steps)
            note.unlink(missing_ok=True)
            for step in steps:
                shutil.rmtree(step.new.parent, ignore_errors=True)
            raise
        _finish(note, steps)


def complete_interrupted(target: Path) -> None:
    """Completes a replacement that was killed between renames, before its targets are examined.

    Args:
        target: the first target of `replaced_together`, which need not exist.

    Raises:
        UserError: another process is replacing it.
    """
    if any(kind == "note" for _, _, kind in _leftovers(_resolved(target))):
        with _locked(target):
            _clean_up(_resolved(target))


def contents_without_traces(*targets: Path) -> list[Path]:
    """What is in a folder beside the lock of targets and what a killed process left of them.

    Args:
        targets: those of `replaced_together`, all in this folder, which need not exist.
    """
    folder = targets[0].parent
    places = [_resolved(target) for target in targets]
    traces = {*_lock_files(places), *(path for place in places for path, *_ in _leftovers(place))}
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if _resolved(folder) / path.name not in traces]


def _resolved(target: Path) -> Path:
    return Path(os.path.realpath(target))


@contextmanager
def _locked(*targets: Path) -> Iterator[None]:
    """Holds the locks of targets, some of which others may share by a link."""
    named = dict(zip(map(_resolved, targets), targets, strict=True))
    with ExitStack() as held:
        for lock, target in sorted(_lock_files(named).items()):  # In one order: one process wins.
            message = f"another process is writing {named[target]}; wait until it has ended"
            held.enter_context(locked(lock, message))
        yield


def _lock_files(targets: Iterable[Path]) -> dict[Path, Path]:
    """A lock beside the first target in each folder → this target; once created, locks stay."""
    first = {target.parent: target for target in reversed([*targets])}
    return {target.with_name(f".{target.name}.lock"): target for target in first.values()}


def _beside(target: Path, key: str, kind: str) -> Path:
    return target.with_name(f".{target.name}.{key}.{kind}")


def _step(target: Path, key: str, **states: Any) -> _Step:
    new = _beside(target, key, "new") / target.name
    return _Step(target, new, _beside(target, key, "old"), **states)


def _observed(step: _Step, target: Path, is_ours: IsOurs) -> _Step:
    """The step with what is on disk before any rename; `target` is its target as it was named."""
    if not os.path.lexists(step.new.parent):
        raise UserError(
            f"{target}: its new files were deleted while they were written; run the same command "
            "again"
        )
    existed, written = os.path.lexists(step.target), os.path.lexists(step.new)
    if step.target.is_dir():
        found = [path for path in _files_of(step.target) if is_ours(target, path)]
    else:
        found = [Path()] if existed and is_ours(target.parent, Path(target.name)) else []
    ours = {str(path): _modified_ns(step.target / path) for path in found}
    return _Step(step.target, step.new, step.old, existed, written, ours)


def _modified_ns(path: Path) -> int:
    return path.lstat().st_mtime_ns


def _files_of(target: Path) -> list[Path]:
    """Files and links in a folder, relative to it; `Path()` for a target that is a file."""
    if not target.is_dir():
        return [Path()] if os.path.lexists(target) else []
    found = []
    for folder, subfolders, files in os.walk(target):
        here = Path(folder)
        links = [name for name in subfolders if (here / name).is_symlink()]
        found += [(here / name).relative_to(target) for name in [*files, *links]]
    return found


def _swap(steps: Sequence[_Step]) -> None:
    """Moves old targets aside and new ones into place; continues where it was interrupted.

    If that was in `_finish`, old targets may be gone already. What was put in the place of a target
    since then is kept beside it.
    """
    for step in steps:
        if not os.path.lexists(step.new if step.written else step.new.parent):
            continue
        if step.existed and not os.path.lexists(step.old) and os.path.lexists(step.target):
            step.target.rename(step.old)
        if step.written:
            _keep(step.target)
            step.new.rename(step.target)


def _keep(target: Path) -> None:
    """Renames what was put in the place of a target while its replacement was interrupted."""
    if os.path.lexists(target):
        kept = _free_name(target)
        target.rename(kept)
        _warn(
            f"{target}: its replacement was interrupted and is now complete; what was put there "
            f"since then is kept as {kept}"
        )


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def _roll_back(steps: Sequence[_Step]) -> None:
    """Undoes `_swap`, wherever it was interrupted."""
    for step in reversed(steps):
        if step.existed and not os.path.lexists(step.old):
            continue  # It was not reached.
        if step.written and not os.path.lexists(step.new):
            step.target.rename(step.new)
        if step.existed:
            step.old.rename(step.target)


def _clean_up(target: Path) -> None:
    """Completes what killed processes left of replacements of a target; requires the lock."""
    found = _leftovers(target)
    for note, key, kind in found:
        if kind == "note":
            steps = _read_note(note, key)
            _swap(steps)
            _finish(note, steps)
    for path, _, kind in found:
        if kind == "new":
            shutil.rmtree(path, ignore_errors=True)


def _leftovers(target: Path) -> list[tuple[Path, str, str]]:
    """Path, key and kind of the notes and new folders beside a target."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.([0-9a-f]{{32}})\.(note|new)")
    files = target.parent.iterdir() if target.parent.is_dir() else ()
    found = [(file, pattern.fullmatch(file.name)) for file in files]
    return [(file, match[1], match[2]) for file, match in found if match]


def _finish(note: Path, steps: Sequence[_Step]) -> None:
    """Deletes what a complete replacement leaves; the note last, without which it cannot.

    The folder of the new target goes before the old target: `_swap` takes whatever it finds at a
    target for the old one until then, if nothing new is written.
    """
    for step in steps:
        shutil.rmtree(step.new.parent, ignore_errors=True)
        _discard(step)
    note.unlink()


def _write_note(note: Path, steps: Sequence[_Step]) -> None:
    """Writes the note, from which on the replacement is completed rather than undone."""
    entries = [
        {
            "target": os.path.relpath(step.target, note.parent),
            "existed": step.existed,
            "written": step.written,
            "ours_modified_ns": step.ours,
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
            ours=entry.get("ours_modified_ns", {}),  # Notes of former versions do not have it.
        )
        for entry in entries
    ]


def _discard(step: _Step) -> None:
    """Deletes our files of a former target and moves all others to the new one.

    What the system does not let move, such as a mounted folder, stays in the former target, which
    is renamed.
    """
    fault: OSError | None = None
    for relative in _files_of(step.old):
        path = step.old / relative
        try:
            if step.ours.get(str(relative)) == _modified_ns(path):
                path.unlink()
            else:
                path.rename(_new_place(step.target, relative))
        except OSError as error:
            fault = fault or error
    for folder, _, _ in os.walk(step.old, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError as error:
            fault = fault or error
    if fault is not None and os.path.lexists(step.old):
        kept = _free_name(step.target)
        step.old.rename(kept)
        _warn(
            f"{step.target}: it was replaced, but not all former files could be moved or deleted "
            f"({fault.strerror}); these are kept in {kept}"
        )


def _new_place(target: Path, relative: Path) -> Path:
    """A free path in a new target for a file of the former one; its folder is created.

    The file, or its folder, gets another name where the new target has a file of this name.
    """
    *folders, name = (target.name, *relative.parts)
    folder = target.parent
    for part in folders:
        folder = next(path for path in numbered(folder / part) if _can_be_folder(path))
    folder.mkdir(parents=True, exist_ok=True)
    return _free_name(folder / name)


def _can_be_folder(path: Path) -> bool:
    return not os.path.lexists(path) or (path.is_dir() and not path.is_symlink())


def _free_name(path: Path) -> Path:
    """The path itself, or one beside it if it is taken, so that a move overwrites nothing."""
    return first_free(numbered(path))


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
