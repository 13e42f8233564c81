"""The folder of a result of test.py: what may be written to it, and what must not stay."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import (
    check_folder,
    check_place,
    is_unchanged,
    locked,
    remove_partial_files,
    write_bytes,
)
from config.json_text import parse_json

RESULT, TEXT, PICTURES, LOCK = "result.json", "result.txt", "pictures.png", ".result.lock"
FILES, ANCHORS = "files", "anchors_px"
# What results of former versions do not have.
LATER_SETTINGS = (ANCHORS, "seg_gt_path", "image_path")
FORMER_SETTINGS = {"engine": "tensorflow"}
# Files whose contents count, not their names.
NAMES_OF_FILES = ("evaluate_model", "predictions")


class ResultFolder:
    """result.json and the files that belong to it, which it lists with their checksums.

    Files of results of other weights, settings or data never stay beside new results. No file is
    replaced or removed beside result.json that it does not list, or that was changed since.

    Args:
        folder: the folder, which need not exist.
        source: what the new results follow from: "settings", "weights_sha256" and "data_sha256".
    """

    def __init__(self, folder: str | os.PathLike, source: Mapping[str, Any]) -> None:
        self.folder, self._source = Path(folder), source

    def check(self, names: Iterable[str], overwrite: bool) -> None:
        """Checks that results may be written, before they are computed.

        Args:
            names: the files that will be written beside result.json.
            overwrite: whether to replace results of other weights, settings or data.

        Raises:
            UserError, FolderError: they may not; the message says what is in the way.
            OSError: result.json cannot be read.
        """
        self._checked(names, overwrite)

    def write(
        self,
        details: Mapping[str, Any],
        files: Mapping[str, bytes | memoryview],
        overwrite: bool,
        stale: Sequence[Path] = (),
    ) -> None:
        """Writes result.json and the files beside it, in place of those of other results.

        What `check` checks is checked again, since an evaluation takes long, and other processes
        wait until the files are written.

        Args:
            details: content of result.json.
            files: name → content.
            overwrite: as that of `check`.
            stale: files elsewhere that do not hold for other results; removed if the folder held
                some.

        Raises:
            UserError, FolderError: as `check`; nothing has been written or removed.
            NoSpaceError, OSError: a file cannot be written. The files of other results have been
                removed by then; their result.json stays if the new one cannot be written.
        """
        message = f"another test.py is writing to {self.folder}; waiting for it"
        with locked(self.folder / LOCK, message, wait=True):
            changed, recorded = self._checked(files, overwrite)
            for name in (RESULT, *files):
                remove_partial_files(self.folder / name)
            ours = [name for name in recorded if self._is_ours(name, recorded)]
            kept = [] if changed else [name for name in ours if name not in files]
            for name in set(ours) - set(kept):
                (self.folder / name).unlink(missing_ok=True)
            for path in stale if changed else ():
                path.unlink(missing_ok=True)
            checksums = {name: recorded[name] for name in kept}
            checksums |= {name: hashlib.sha256(files[name]).hexdigest() for name in files}
            text = json.dumps({**details, FILES: checksums}, indent=2, ensure_ascii=False)
            # First, so that an interruption leaves no file that is not listed.
            write_bytes(self.folder / RESULT, f"{text}\n".encode())
            for name, content in files.items():
                write_bytes(self.folder / name, content)

    def _checked(self, names: Iterable[str], overwrite: bool) -> tuple[list[str], dict[str, str]]:
        """What `changes` names in the results of the folder, and their files with checksums."""
        check_folder(self.folder)
        found = self._read()
        changed = [] if found is None else changes(found, self._source)
        recorded = {} if found is None else _recorded_files(found)
        if changed and not overwrite:
            raise UserError(
                f"{self.folder / RESULT}: holds the results of other {', '.join(changed)}; give "
                "these ones another folder by --name, or replace those by --overwrite"
            )
        for name in names:
            if os.path.lexists(self.folder / name) and not self._is_ours(name, recorded):
                raise UserError(
                    f"{self.folder / name}: was not written by test.py, or has changed since; move "
                    "it, or give the results another folder by --name"
                )
        return changed, recorded

    def _read(self) -> dict[str, Any] | None:
        """The content of result.json; None if there is none."""
        path = self.folder / RESULT
        check_place(path)
        try:
            found = parse_json(path.read_bytes(), path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UserError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
            raise UserError(
                f"{path}: is not a result of test.py; give the results another folder by --name"
            )
        return found

    def _is_ours(self, name: str, recorded: Mapping[str, str]) -> bool:
        """Whether a file is the one that was written with result.json."""
        return name in recorded and is_unchanged(self.folder / name, recorded[name])


def _recorded_files(found: Mapping[str, Any]) -> dict[str, str]:
    """Name → checksum of the files that a result.json lists; those of former versions list none."""
    files = found.get(FILES)
    return {
        name: checksum
        for name, checksum in (files.items() if isinstance(files, dict) else ())
        if isinstance(checksum, str) and Path(name).name == name != RESULT
    }


def changes(found: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    """Names what other results, given by their result.json, follow from that `source` does not."""
    settings, data = found["settings"], found.get("data_sha256")
    data = data if isinstance(data, dict) else {}
    changed = [
        key
        for key, value in source["settings"].items()
        if key not in NAMES_OF_FILES and settings.get(key, FORMER_SETTINGS.get(key)) != value
        if key not in LATER_SETTINGS or key in settings
    ]
    changed += [
        f"contents of {key}"
        for key, value in source["data_sha256"].items()
        if key not in changed and data.get(key, value) != value
    ]
    if found.get("weights_sha256") != source["weights_sha256"]:
        changed.insert(0, "weights")
    return changed
