"""Writes the results of an evaluation: the folder of a result and a dump elsewhere."""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import NoSpaceError, UserError, message_of
from config.files import check_folder, first_free, numbered, write_bytes
from utils.evaluation.published import is_splits_table
from utils.evaluation.result_folder import LOCK, PICTURES, RESULT, TEXT, ResultFolder
from utils.evaluation.results.measurement import is_dump
from utils.visualization.gallery import INDEX

DUMP = "dump.jsonl"  # The dump beside results that had to be written to another folder.


@dataclass(frozen=True)
class Task:
    """A set to evaluate on, and where its results go.

    Attributes:
        set_path: annotation file.
        folder: where result.txt and result.json are written.
        dump: file for one JSON line per expression, in the order of the set; None for no file.
        table: file of `utils.evaluation.published.sealed` that may list the result among others;
            removed if other results replace this one.
    """

    set_path: str
    folder: Path
    dump: Path | None = None
    table: Path | None = None


def write_results(
    task: Task,
    source: Mapping[str, Any],
    details: Mapping[str, Any],
    files: dict[str, bytes | memoryview],
    dumped: bytes,
    overwrite: bool,
) -> None:
    """Writes the results of a task.

    Args:
        task: the task.
        source: what the results follow from, see `utils.evaluation.result_folder.ResultFolder`.
        details: content of result.json.
        files: name → content of the files beside it.
        dumped: content of the dump, if the task has one.
        overwrite: whether to replace results of other weights, settings or data, and an earlier
            dump.

    Raises:
        UserError: during the evaluation, something appeared that they must not replace. They are
            in another folder then, which the message names.
        NoSpaceError, OSError: a file cannot be written.
    """
    beside = task.dump is not None and _is_beside(task.dump, task.folder)
    with_dump = files if task.dump is None else files | {task.dump.name if beside else DUMP: dumped}
    stale = [path for path in (task.table,) if path is not None and is_splits_table(path)]
    folder = ResultFolder(task.folder, source)
    try:
        check_dump(task, overwrite)
        folder.write(details, with_dump if beside else files, overwrite, stale)
    except NoSpaceError:
        raise
    except UserError as error:
        kept = first_free(itertools.islice(numbered(task.folder), 1, None))
        ResultFolder(kept, source).write(details, with_dump, overwrite=False)
        raise UserError(f"{error}; the results of this evaluation are in {kept}/") from None
    if task.dump is not None and not beside:
        _write_dump(task, dumped, overwrite)


def _write_dump(task: Task, dumped: bytes, overwrite: bool) -> None:
    """Writes the dump of a task; where something else has taken its place, beside that.

    Raises:
        UserError: it is in another file, which the message names.
    """
    assert task.dump is not None
    try:
        # Again: another process may have had the folder for as long as it takes.
        check_dump(task, overwrite)
        write_bytes(task.dump, dumped, replace=overwrite)
    except (UserError, FileExistsError) as error:
        if isinstance(error, NoSpaceError):
            raise
        kept = first_free(itertools.islice(numbered(task.dump), 1, None))
        write_bytes(kept, dumped, replace=False)
        raise UserError(f"{message_of(error)}; the dump of this evaluation is in {kept}") from None


def result_text(table: str, settings: Mapping[str, Any]) -> bytes:
    """The content of result.txt: the table and the settings it depends on."""
    lines = [f"{key} = {value}" for key, value in settings.items()]
    return (table + "\n\n" + "\n".join(lines) + "\n").encode()


def files_of(task: Task, pictures: int) -> list[str]:
    """The files that a task writes beside its result.json; `pictures` as for test.py."""
    names = [TEXT, *([PICTURES, INDEX] if pictures else [])]
    if task.dump is not None and _is_beside(task.dump, task.folder):
        names.append(task.dump.name)
    return names


def _is_beside(dump: Path, folder: Path) -> bool:
    """Whether a dump is written to the folder of the results."""
    return dump.resolve().parent == folder.resolve()


def check_dump(task: Task, overwrite: bool) -> None:
    """Checks that the dump of a task can be written and replaces nothing but an earlier dump.

    Raises:
        UserError: it cannot, or it would.
    """
    if task.dump is None:
        return
    check_folder(task.dump.parent)
    results = [(task.folder / name).resolve() for name in (RESULT, TEXT, PICTURES, INDEX, LOCK)]
    if task.dump.resolve() in results:
        raise UserError(f"--dump {task.dump}: is a file of the results; name another file")
    if not os.path.lexists(task.dump):
        return
    if not is_dump(task.dump):
        raise UserError(f"{task.dump}: exists and is not a dump of test.py; name another file")
    if not overwrite:
        raise UserError(
            f"{task.dump}: exists already; name another file, or replace it by --overwrite"
        )
