"""What a run records: settings, versions, one line per epoch, curves and TensorBoard events."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from config.errors import UserError
from config.files import write_text
from utils.environment import versions
from utils.visualization.curves import draw_curves
from utils.visualization.png import save_png


class RunLog:
    """The record of a run in its log folder.

    `config.json` (all settings) and `versions.json` are written immediately, `epochs.jsonl` (one
    line per epoch), `curves.png` (drawn from it) and `tensorboard/` (event files) after each
    epoch. A resumed run continues the same files; the line of a repeated epoch replaces the
    earlier one and all later lines.

    Args:
        log_path: the folder; created if missing.
        settings: the settings of the run, plain values.

    Raises:
        UserError: a line of an existing `epochs.jsonl` is damaged.
    """

    def __init__(self, log_path: str | os.PathLike, settings: Mapping[str, Any]) -> None:
        self.folder = Path(log_path)
        self.epochs_path = self.folder / "epochs.jsonl"
        self.records = read_epochs(self.epochs_path)
        write_text(self.folder / "config.json", json.dumps(settings, indent=2) + "\n")
        write_text(self.folder / "versions.json", json.dumps(versions(), indent=2) + "\n")
        self._writer = tf.summary.create_file_writer(str(self.folder / "tensorboard"))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers to TensorBoard, by their tags, such as {"train/xy": 0.3}.

        Args:
            step: the step or epoch that they belong to.
            values: numbers by tag.
        """
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, float(value))
        self._writer.flush()

    def images(self, step: int, name: str, images: Iterable[np.ndarray]) -> None:
        """Adds pictures to TensorBoard.

        Args:
            step: the step or epoch that they belong to.
            name: tag; picture k is shown as `name/k`.
            images: (H, W, 3) uint8 each; sizes may differ.
        """
        with self._writer.as_default(step=step):
            for number, image in enumerate(images):
                tf.summary.image(f"{name}/{number}", np.asarray(image)[None])
        self._writer.flush()

    def epoch(self, epoch: int, record: Mapping[str, Any]) -> None:
        """Writes the line of an epoch, removes those of later epochs, and redraws the curves.

        Args:
            epoch: its number.
            record: plain values or NumPy numbers, nested dicts and lists included. Numbers that
                are not finite are written as null, since JSON cannot represent them.
        """
        self.records = [kept for kept in self.records if kept["epoch"] < epoch]
        self.records.append(_plain({"epoch": epoch, **record}))
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in self.records]
        write_text(self.epochs_path, "".join(lines))
        curves = draw_curves(self.records)
        if curves is not None:
            save_png(self.folder / "curves.png", curves)

    def close(self) -> None:
        """Flushes and closes the event file."""
        self._writer.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_epochs(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads the records of an `epochs.jsonl`, oldest first; an empty list if there is none.

    Raises:
        UserError: a line is not the record of an epoch; the message names file and line.
    """
    if not Path(path).exists():
        return []
    records = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            if not isinstance(record["epoch"], int):
                raise TypeError("epoch is not an integer")
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: line {number}: not the record of an epoch ({error!r}); "
                "repair or delete the file, or set another log_path"
            ) from None
        records.append(record)
    return records


def _plain(value: Any) -> Any:
    """Converts a value to types that JSON can represent."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
