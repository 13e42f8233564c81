"""What a run records for people: settings, versions, epochs, curves and TensorBoard events."""

import itertools
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from config.command_line import say
from config.errors import UserError
from config.files import first_free, remove_partial_files, write_text
from config.run_folder import SETTINGS_FILE
from data.preparation.wording import plural
from utils.environment import versions
from utils.training.run.events import Events, event_files, recorded_events
from utils.visualization.curves import draw_curves
from utils.visualization.png import save_png

VERSIONS, EPOCHS, CURVES = "versions.json", "epochs.jsonl", "curves.png"
EVENTS = "events.out.tfevents"  # The beginning of the names of TensorBoard's files.


class RunLog:
    """The record of a run in its log folder.

    `config.json` (all settings) and `versions.json` are written immediately, `epochs.jsonl` (one
    line per epoch), `curves.png` (drawn from it) and TensorBoard's event files as training
    proceeds. A resumed run continues the same files. Of these, only the first two can stop a
    training: the state of the run contains what the others show.

    Args:
        log_path: the folder; created if missing.
        settings: the settings of the run, plain values.
        new: whether the run has not begun before. What the folder then holds under these names is
            renamed, with a warning.
        replicas: the devices of all processes, for `versions.json`.
    """

    def __init__(
        self,
        log_path: str | os.PathLike,
        settings: Mapping[str, Any],
        *,
        new: bool = False,
        replicas: str = "",
    ) -> None:
        self.folder, self._det_thresh = Path(log_path), settings.get("det_acc_thresh", 0.5)
        for name in (SETTINGS_FILE, VERSIONS, EPOCHS, CURVES):
            remove_partial_files(self.folder / name)
        values = {SETTINGS_FILE: settings, VERSIONS: {**versions(), "replicas": replicas}}
        texts = {name: json.dumps(value, indent=2) + "\n" for name, value in values.items()}
        recorded = recorded_events(self.folder)
        if new:
            _set_aside_others(self.folder, texts)
            if recorded:
                _set_aside_events(self.folder)
            recorded = set()
        changed = not _has_text(self.folder / SETTINGS_FILE, texts[SETTINGS_FILE])
        for name, text in texts.items():
            write_text(self.folder / name, text)
        self._events: Events | None = None
        with _optional(self.folder / EVENTS):
            self._events = Events(self.folder, settings, recorded, changed)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers to TensorBoard, by their tags, such as {"train/xy": 0.3}.

        Args:
            step: the step or epoch that they belong to.
            values: numbers by tag. Those that an earlier process has recorded are left out.
        """
        self._add(lambda events: events.scalars(step, values))

    def images(self, step: int, name: str, images: Iterable[np.ndarray]) -> None:
        """Adds pictures to TensorBoard.

        Args:
            step: the step or epoch that they belong to.
            name: tag; picture k is shown as `name/k`. Those that an earlier process has recorded
                are left out.
            images: (H, W, 3) uint8 each; sizes may differ.
        """
        self._add(lambda events: events.images(step, name, images))

    def epochs(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Writes `epochs.jsonl` and redraws the curves, see `write_epochs`."""
        write_epochs(self.folder, history, self._det_thresh)

    def close(self) -> None:
        """Flushes and closes the event file."""
        if self._events is not None:
            with _optional(self.folder / EVENTS):
                self._events.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, write: Callable[[Events], None]) -> None:
        """Writes events and flushes them; gives up TensorBoard if that fails."""
        if self._events is None:
            return
        with _optional(self.folder / EVENTS):
            try:
                write(self._events)
                self._events.flush()
            except Exception:
                self._events = None
                raise


def write_epochs(
    folder: str | os.PathLike, history: Sequence[Mapping[str, Any]], det_thresh: float
) -> bool:
    """Draws the curves of a run and writes its `epochs.jsonl`, unless that is written already.

    A record of more epochs, which an earlier state does not count, is kept under another name.

    Args:
        folder: the log folder.
        history: the record of each epoch, see `plain`.
        det_thresh: IoU from which a box counts as right, for the legend.

    Returns:
        Whether the files were not as they should be.
    """
    path, curves_path = Path(folder) / EPOCHS, Path(folder) / CURVES
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in history)
    with suppress(OSError):
        if path.read_bytes() == text.encode():
            return False
    with _optional(curves_path):
        curves = draw_curves(history, det_thresh)
        if curves is not None:
            save_png(curves_path, curves)
    with _optional(path):  # Last: once it is there, the curves are, too.
        _keep_longer(path, len(history))
        write_text(path, text)
    return True


def _keep_longer(path: Path, epochs: int) -> None:
    """Renames an `epochs.jsonl` of more epochs than these, with a warning."""
    try:
        count = path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return
    if count > epochs:
        say(
            f"warning: {path}: has {plural(count, 'epoch')}, the state of the run {epochs:,}; the "
            f"former record is now in {_set_aside(path)}",
            sys.stderr,
        )


def _set_aside_others(folder: Path, texts: Mapping[str, str]) -> None:
    """Renames what others have left under the names of a new run, with a warning.

    A run that was killed before its first state leaves the same texts.
    """
    for name in (*texts, CURVES):
        path = folder / name
        if path.exists() and not (name in texts and _has_text(path, texts[name])):
            say(f"warning: {path}: not of this run; it is now in {_set_aside(path)}", sys.stderr)


def _set_aside_events(folder: Path) -> None:
    """Moves the events that others have left to a folder of their own, with a warning."""
    names = (f"events.old{number}" for number in itertools.count(1))
    old = first_free(map(folder.joinpath, names))
    old.mkdir()
    for path in event_files(folder):
        path.rename(old / path.name)
    say(f"warning: {folder / EVENTS}.*: not of this run; they are now in {old}", sys.stderr)


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _set_aside(path: Path) -> Path:
    """Renames a file or folder to the first free name, such as config.old1.json for config.json."""
    names = (f"{path.stem}.old{number}{path.suffix}" for number in itertools.count(1))
    return path.rename(first_free(map(path.with_name, names)))


def plain(value: Any) -> Any:
    """Converts values to types that JSON can represent.

    NumPy numbers and arrays become plain ones; numbers that are not finite become None.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def _optional(path: Path) -> Iterator[None]:
    """Reports an error inside the block, which must not stop a training of days."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, UserError | OSError | tf.errors.OpError):
            traceback.print_exc()
        text = str(error) if str(path) in str(error) else f"{path}: {error}"
        say(f"warning: {text}; training continues without it", sys.stderr)
