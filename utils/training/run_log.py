"""What a run writes down about itself: settings, versions, a line an epoch, TensorBoard events."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from config.files import written_atomically
from utils.environment import versions
from utils.visualization.curves import draw_curves


class RunLog:
    """The record of a run in its log folder.

    Written at once: `config.json` (the resolved settings) and `versions.json`. Then
    `epochs.jsonl`, one line an epoch, `curves.png`, drawn from it, and `tensorboard/`, event
    files. A resumed run goes on in the same files; an epoch that is run again replaces its line
    and all later ones.

    Args:
        log_path: the folder; made if it is not there.
        config: dict of plain values.

    Raises:
        ValueError: a line of an `epochs.jsonl` that is already there is damaged.
    """

    def __init__(self, log_path, config):
        import tensorflow as tf

        self.folder = Path(log_path)
        self.epochs_path = self.folder / "epochs.jsonl"
        self.records = read_epochs(self.epochs_path)
        _write_whole(self.folder / "config.json", json.dumps(config, indent=2) + "\n")
        _write_whole(self.folder / "versions.json", json.dumps(versions(), indent=2) + "\n")
        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(self.folder / "tensorboard"))

    def scalars(self, step, values):
        """Adds numbers to TensorBoard: {"train/loss_xy": 0.3, …} at a step or epoch `step`."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                self._summary.scalar(name, float(value))
        self._writer.flush()

    def images(self, step, name, images):
        """Adds pictures to TensorBoard.

        Args:
            step: the step or epoch they belong to.
            name: tag; picture k is shown as `name/k`.
            images: list of uint8 (H, W, 3), whose sizes may differ.
        """
        with self._writer.as_default(step=step):
            for number, image in enumerate(images):
                self._summary.image(f"{name}/{number}", np.asarray(image)[None])
        self._writer.flush()

    def epoch(self, epoch, record):
        """Writes the line of an epoch, in place of any line of this or a later epoch.

        The curves up to here are drawn anew.

        Args:
            epoch: its number.
            record: dict of plain values or numpy numbers, nested dicts and lists included. What
                is not a finite number is written as null, for which JSON has no other word.
        """
        self.records = [kept for kept in self.records if kept["epoch"] < epoch]
        self.records.append(_plain({"epoch": epoch, **record}))
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in self.records]
        _write_whole(self.epochs_path, "".join(lines))
        curves = draw_curves(self.records)
        if curves is not None:
            with written_atomically(self.folder / "curves.png") as file:
                Image.fromarray(curves).save(file, "png")

    def close(self):
        """Writes out what is still buffered."""
        self._writer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_epochs(path):
    """The records of an `epochs.jsonl`, oldest first; empty if there is no such file.

    Raises:
        ValueError: a line is not a record of an epoch; names file and line.
    """
    if not Path(path).exists():
        return []
    records = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            if not isinstance(record["epoch"], int):
                raise TypeError("epoch is no whole number")
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: line {number}: not the record of an epoch ({error!r}); "
                "mend or delete the file, or set another log_path"
            ) from None
        records.append(record)
    return records


def _plain(value):
    """`value` in types that JSON knows."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _write_whole(path, text):
    with written_atomically(path) as file:
        file.write(text.encode("utf-8"))
