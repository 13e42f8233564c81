"""The events of a run for TensorBoard, in the log folder itself: the run has the folder's name.

    tensorboard --logdir log

`step/…` are numbers of training steps, `train/…` and `val/…` those of epochs, with pictures under
`val/best`, `val/median` and `val/worst`; other evaluation sets have names such as
`val_refcoco+_val/…`. The settings are there as a table, and as hyperparameters,
by which runs are compared; if a run is resumed with other settings, the table shows them, and the
hyperparameters stay those of its beginning, as TensorBoard knows one record of them for each run.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb

from config.schema import PROJECT_ROOT

PATTERN = "events.out.tfevents.*"
SETTINGS = "settings"
# Settings that do not affect results, so that runs are not compared by them.
NO_HYPERPARAMETERS = frozenset(
    {"about", "evaluate_model", "log_path", "cache_dir", "workers", "max_queue_size", "log_images",
     "save_every_minutes", "worker_timeout_s"}
)  # fmt: skip


class Events:
    """Writes the events of a run, each of them once.

    What an earlier process has recorded, as one that was killed may have done with steps that the
    state of the run does not yet count, is not written again. The settings are written with the
    first numbers or pictures.

    Args:
        folder: the log folder.
        settings: the settings of the run, plain values.
        recorded: of `recorded_events`; what was written before.
        changed: whether the settings are others than those that were written before.

    Raises:
        OSError, tf.errors.OpError: by all methods; the file cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        settings: Mapping[str, Any],
        recorded: set[tuple[str, int]],
        changed: bool,
    ) -> None:
        self._folder, self._settings = Path(folder), settings
        self._recorded, self._changed, self._begun = recorded, changed, False
        self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers by their tags, such as {"train/xy": 0.3}, at a step or epoch."""
        summary = Summary()
        for tag in self._new(values, step):
            summary.MergeFrom(scalar_pb(tag, float(values[tag])))
        self._write(summary, step)

    def images(self, step: int, name: str, images: Iterable[np.ndarray]) -> None:
        """Adds pictures (H, W, 3) uint8; picture k has the tag name/k."""
        self._begin(step)
        by_tag = {f"{name}/{number}": image for number, image in enumerate(images)}
        with self._writer.as_default(step=step):
            for tag in self._new(by_tag, step):
                tf.summary.image(tag, np.asarray(by_tag[tag])[None])

    def flush(self) -> None:
        """Writes what is buffered."""
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self._writer.close()

    def _new(self, tags: Iterable[str], step: int) -> list[str]:
        return [tag for tag in tags if (tag, step) not in self._recorded]

    def _write(self, summary: Summary, step: int) -> None:
        """Writes values as one event, which takes much less space and time than one per value."""
        if summary.value:
            self._begin(step)
            with self._writer.as_default(step=step):
                tf.summary.experimental.write_raw_pb(summary.SerializeToString())

    def _begin(self, step: int) -> None:
        """Writes the settings before anything else, if they are not there yet."""
        if self._begun:
            return
        self._begun = True
        tags = {tag for tag, _ in self._recorded}
        if SESSION_START_INFO_TAG not in tags:
            # Runs with equal settings are compared, too, in place of being averaged.
            trial = f"{self._folder.absolute().name} ({self._folder.absolute()})"
            self._write(hparams_pb(hyperparameters(self._settings), trial_id=trial), 0)
        if SETTINGS not in tags:
            self._write(text_pb(SETTINGS, _table(self._settings)), 0)
        elif self._changed and (SETTINGS, step) not in self._recorded:
            self._write(text_pb(SETTINGS, _table(self._settings)), step)


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by which TensorBoard compares runs, as it takes them.

    Lists become text, such as "30, 35, 40"; paths in the project are relative to it.
    """
    return {
        key: _hyperparameter(value)
        for key, value in settings.items()
        if key not in NO_HYPERPARAMETERS and isinstance(value, bool | int | float | str | list)
    }


def _hyperparameter(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value.removeprefix(f"{PROJECT_ROOT}/") if isinstance(value, str) else value


def recorded_events(folder: Path) -> set[tuple[str, int]]:
    """(tag, step) of the events in a folder, as far as TensorBoard reads them, too."""
    recorded = set()
    for path in event_files(folder):
        for content in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(content)
            recorded |= {(value.tag, event.step) for value in event.summary.value}
    return recorded


def event_files(folder: Path) -> list[Path]:
    """The files of TensorBoard in a folder, without pipes and folders of such names."""
    return sorted(filter(Path.is_file, folder.glob(PATTERN)))


def _table(settings: Mapping[str, Any]) -> str:
    """The settings as a table of Markdown."""
    rows = [f"| {key} | {_cell(value)} |" for key, value in settings.items() if key != "about"]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
