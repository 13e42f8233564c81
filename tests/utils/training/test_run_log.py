"""The files that a run leaves: settings, versions, epochs, TensorBoard events."""

import json

import numpy as np
import pytest
from PIL import Image

from utils.training.run_log import RunLog, read_epochs


def lines(folder):
    return [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]


def test_settings_and_versions_are_written_at_once(tmp_path):
    folder = tmp_path / "log" / "run"
    RunLog(folder, {"lr": 0.001, "steps": [30, 35], "backbone": "vgg"}).close()
    assert json.loads((folder / "config.json").read_text()) == {
        "lr": 0.001,
        "steps": [30, 35],
        "backbone": "vgg",
    }
    recorded = json.loads((folder / "versions.json").read_text())
    for name in ("python", "tensorflow", "keras", "numpy", "opencv"):
        assert recorded[name][0].isdigit()
    assert "git" in recorded
    assert "threads" in recorded["device"] or "×" in recorded["device"]


def test_one_line_per_epoch_across_a_resume(tmp_path):
    with RunLog(tmp_path, {}) as log:
        for epoch in (1, 2, 3):
            log.epoch(epoch, {"det_acc": epoch / 10})
    with RunLog(tmp_path, {}) as log:
        log.epoch(2, {"det_acc": 0.7})
        assert [(r["epoch"], r["det_acc"]) for r in lines(tmp_path)] == [(1, 0.1), (2, 0.7)]
        log.epoch(3, {"det_acc": 0.8})
    assert [r["epoch"] for r in lines(tmp_path)] == [1, 2, 3]
    assert read_epochs(tmp_path / "epochs.jsonl") == log.records


def test_curves_are_drawn_each_epoch(tmp_path):
    with RunLog(tmp_path, {}) as log:
        log.epoch(1, {"note": "nothing to draw"})
        assert not (tmp_path / "curves.png").exists()
        log.epoch(2, {"train": {"loss": 2.0}, "val": {"det_acc": 0.5}})
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 200


def test_numpy_and_non_finite_numbers_become_json(tmp_path):
    with RunLog(tmp_path, {}) as log:
        log.epoch(
            np.int64(1),
            {
                "loss": np.float32(0.5),
                "seg_prec": {"0.5": np.float64(0.25)},
                "t": (1, float("nan")),
            },
        )
    assert lines(tmp_path) == [{"epoch": 1, "loss": 0.5, "seg_prec": {"0.5": 0.25}, "t": [1, None]}]


@pytest.mark.parametrize("line", ['{"epoch": 2, "lo', '{"loss": 1}', '{"epoch": "two"}', "[]"])
def test_a_damaged_record_is_named(tmp_path, line):
    path = tmp_path / "epochs.jsonl"
    path.write_text('{"epoch": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"epochs\.jsonl: line 2"):
        RunLog(tmp_path, {})


def test_tensorboard_reads_scalars_and_images(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    with RunLog(tmp_path, {}) as log:
        log.scalars(10, {"train/loss_xy": 2.0, "learning_rate": 1e-3})
        log.scalars(20, {"train/loss_xy": np.float32(1.0)})
        sizes = [(8, 12), (6, 6)]
        log.images(1, "val", [np.full((h, w, 3), 200, np.uint8) for h, w in sizes])

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()["tensors"]
    assert set(tags) == {"train/loss_xy", "learning_rate", "val/0", "val/1"}
    points = [
        (e.step, float(tensor_util.make_ndarray(e.tensor_proto)))
        for e in events.Tensors("train/loss_xy")
    ]
    assert points == [(10, 2.0), (20, 1.0)]
    picture = tensor_util.make_ndarray(events.Tensors("val/0")[0].tensor_proto)
    assert list(picture[:2]) == [b"12", b"8"]
    assert picture[2].startswith(b"\x89PNG")
