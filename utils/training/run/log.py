"""What a run records for people: settings, versions, epochs, curves and TensorBoard events."""

import itertools
import json
import math
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event

from config.command_line import say
from config.errors import UserError
from config.files import first_free, remove_partial_files, write_text
from config.run_folder import SETTINGS_FILE
from utils.environment import versions
from utils.visualization.curves import draw_curves
from utils.visualization.png import save_png

VERSIONS, EPOCHS, CURVES = "versions.json", "epochs.jsonl", "curves.png"
EVENTS = "tensorboard"
READ_BYTES = 1 << 20


class RunLog:
    """The record of a run in its log folder.

    `config.json` (all settings) and `versions.json` are written immediately, `epochs.jsonl` (one
    line per epoch), `curves.png` (drawn from it) and `tensorboard/` (event files) as epochs
    complete. A resumed run continues the same files. Of these, only the first two can stop a
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
        events = self.folder / EVENTS
        self._recorded = _recorded_events(events)
        if new:
            _set_aside_others(self.folder, texts, keep_events=not self._recorded)
            self._recorded = set()
        for name, text in texts.items():
            write_text(self.folder / name, text)
        self._writer: Any = None
        with _optional(events):
            self._writer = tf.summary.create_file_writer(str(events))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers to TensorBoard, by their tags, such as {"train/xy": 0.3}.

        Args:
            step: the step or epoch that they belong to.
            values: numbers by tag. Those that an earlier process has recorded are left out.
        """
        with self._events(step):
            for name, value in values.items():
                if (name, step) not in self._recorded:
                    tf.summary.scalar(name, float(value))

    def images(self, step: int, name: str, images: Iterable[np.ndarray]) -> None:
        """Adds pictures to TensorBoard.

        Args:
            step: the step or epoch that they belong to.
            name: tag; picture k is shown as `name/k`. Those that an earlier process has recorded
                are left out.
            images: (H, W, 3) uint8 each; sizes may differ.
        """
        with self._events(step):
            for number, image in enumerate(images):
                if (f"{name}/{number}", step) not in self._recorded:
                    tf.summary.image(f"{name}/{number}", np.asarray(image)[None])

    def epochs(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Writes `epochs.jsonl` and redraws the curves, see `write_epochs`."""
        write_epochs(self.folder, history, self._det_thresh)

    def close(self) -> None:
        """Flushes and closes the event file."""
        if self._writer is not None:
            with _optional(self.folder / EVENTS):
                self._writer.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _events(self, step: int) -> Iterator[None]:
        """Collects events of a step and flushes them; gives up TensorBoard if that fails."""
        with _optional(self.folder / EVENTS):
            if self._writer is None:
                # There is nowhere to write to; summaries without a writer do nothing.
                yield
                return
            try:
                with self._writer.as_default(step=step):
                    yield
                self._writer.flush()
            except Exception:
                self._writer = None
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
            f"warning: {path}: has {count:,} epochs, the state of the run {epochs:,}; the former "
            f"record is now in {_set_aside(path)}",
            sys.stderr,
        )


def _set_aside_others(folder: Path, texts: Mapping[str, str], *, keep_events: bool) -> None:
    """Renames what others have left under the names of a new run, with a warning.

    A run that was killed before its first state leaves the same texts, and no events.
    """
    for name in (*texts, CURVES, EVENTS):
        path = folder / name
        same = name in texts and path.is_file() and path.read_bytes() == texts[name].encode()
        if path.exists() and not same and not (name == EVENTS and keep_events):
            say(f"warning: {path}: not of this run; it is now in {_set_aside(path)}", sys.stderr)


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


def _recorded_events(folder: Path) -> set[tuple[str, int]]:
    """(tag, step) of the events in a folder, as far as they can be read.

    A process that was killed may have recorded an epoch that the state does not yet count.
    """
    recorded = set()
    for path in filter(Path.is_file, sorted(folder.glob("events.out.tfevents.*"))):
        try:
            for content in tf.data.TFRecordDataset(str(path), buffer_size=READ_BYTES):
                event = Event.FromString(content.numpy())
                recorded |= {(value.tag, event.step) for value in event.summary.value}
        except tf.errors.OpError:
            continue  # The end of the file is torn; TensorBoard stops there, too.
    return recorded
