"""The files that a run leaves: settings, versions, epochs, TensorBoard events."""

import json
import os

import numpy as np
import pytest
from PIL import Image

import utils.training.run.log as run_log
from utils.training.run.log import RunLog, plain


def lines(folder):
    return [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]


def events(folder):
    """{tag: [(step, value), …]} of what TensorBoard reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    read = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    read.Reload()
    return {
        tag: [(e.step, tensor_util.make_ndarray(e.tensor_proto)) for e in read.Tensors(tag)]
        for tag in read.Tags()["tensors"]
    }


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


def test_a_new_run_keeps_what_others_left_under_its_names(tmp_path, capsys):
    names = ("config.json", "versions.json", "curves.png")
    for name in names:
        (tmp_path / name).write_text(f"my {name}")
    with RunLog(tmp_path, {"lr": 0.1}, new=True) as log:
        log.epochs([{"epoch": 1, "train": {"loss": 2.0}, "val": {"det_acc": 0.5}}])
    for name in names:
        stem, suffix = name.split(".")
        assert (tmp_path / f"{stem}.old1.{suffix}").read_text() == f"my {name}"
        assert (tmp_path / name).read_bytes() != f"my {name}".encode()
    assert capsys.readouterr().err.count("not of this run; it is now in") == 3


def test_a_run_that_was_killed_early_leaves_nothing_to_keep(tmp_path, capsys):
    for _ in range(2):
        RunLog(tmp_path, {"lr": 0.1}, new=True).close()
    assert not list(tmp_path.glob("*.old*"))
    assert capsys.readouterr().err == ""


def test_a_new_run_has_its_own_events(tmp_path):
    """Not those of a run whose state was deleted."""
    for value in (33.0, 22.0):
        with RunLog(tmp_path, {}, new=True) as log:
            log.scalars(1, {"train/loss": value})
    assert events(tmp_path)["train/loss"] == [(1, 22.0)]
    assert events(tmp_path / "events.old1")["train/loss"] == [(1, 33.0)]
    with RunLog(tmp_path, {}) as log:
        log.scalars(1, {"train/loss": 11.0})
    assert events(tmp_path)["train/loss"] == [(1, 22.0)]


def test_one_line_per_epoch(tmp_path):
    history = [{"epoch": epoch, "det_acc": epoch / 10} for epoch in (1, 2, 3)]
    with RunLog(tmp_path, {}) as log:
        log.epochs(history)
        assert lines(tmp_path) == history


def test_a_longer_record_is_kept(tmp_path, capsys):
    history = [{"epoch": epoch, "det_acc": epoch / 10} for epoch in (1, 2, 3)]
    with RunLog(tmp_path, {}) as log:
        for former in (1, 2):
            log.epochs(history)
            longer = (tmp_path / "epochs.jsonl").read_bytes()
            log.epochs(history[:2])
            assert lines(tmp_path) == history[:2]
            kept = tmp_path / f"epochs.old{former}.jsonl"
            assert kept.read_bytes() == longer
            expected = "epochs.jsonl: has 3 epochs, the state of the run 2; the former record is "
            assert expected + f"now in {kept}" in capsys.readouterr().err


def test_curves_are_drawn_each_epoch(tmp_path):
    with RunLog(tmp_path, {}) as log:
        log.epochs([{"epoch": 1, "note": "nothing to draw"}])
        assert not (tmp_path / "curves.png").exists()
        log.epochs([{"epoch": 1, "train": {"loss": 2.0}, "val": {"det_acc": 0.5}}])
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 200


def test_the_curves_name_the_threshold_of_the_run(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(run_log, "draw_curves", lambda *arguments: drawn.append(arguments))
    with RunLog(tmp_path, {"det_acc_thresh": 0.7}) as log:
        log.epochs([{"epoch": 1}])
    assert drawn == [([{"epoch": 1}], 0.7)]


def test_numpy_and_non_finite_numbers_become_plain():
    values = {
        "epoch": np.int64(1),
        "loss": np.float32(0.5),
        "seg_prec": {"0.5": np.float64(0.25)},
        "t": (1, float("nan")),
    }
    assert plain(values) == {"epoch": 1, "loss": 0.5, "seg_prec": {"0.5": 0.25}, "t": [1, None]}


def test_tensorboard_reads_scalars_and_images(tmp_path):
    with RunLog(tmp_path, {}) as log:
        log.scalars(10, {"train/loss_xy": 2.0, "learning_rate": 1e-3})
        log.scalars(20, {"train/loss_xy": np.float32(1.0)})
        sizes = [(8, 12), (6, 6)]
        log.images(1, "val", [np.full((h, w, 3), 200, np.uint8) for h, w in sizes])
    read = events(tmp_path)
    settings = {"settings", "_hparams_/session_start_info"}
    assert set(read) - settings == {"train/loss_xy", "learning_rate", "val/0", "val/1"}
    assert [(step, float(value)) for step, value in read["train/loss_xy"]] == [(10, 2.0), (20, 1.0)]
    ((step, picture),) = read["val/0"]
    assert step == 1
    assert list(picture[:2]) == [b"12", b"8"]
    assert picture[2].startswith(b"\x89PNG")


def test_a_repeated_epoch_is_recorded_once(tmp_path):
    """As after a kill between the recording of an epoch and the saving of its state."""
    image = np.full((4, 4, 3), 9, np.uint8)
    for epochs in ((1, 2), (2, 3)):
        with RunLog(tmp_path, {}) as log:
            for epoch in epochs:
                log.scalars(epoch, {"loss": epoch / 10})
                log.images(epoch, "val", [image])
    read = events(tmp_path)
    assert sorted(step for step, _ in read["loss"]) == [1, 2, 3]
    assert sorted(step for step, _ in read["val/0"]) == [1, 2, 3]


def test_a_torn_event_file_is_read_up_to_the_tear(tmp_path):
    with RunLog(tmp_path, {}) as log:
        log.scalars(1, {"loss": 1.0})
        log.scalars(2, {"loss": 2.0})
    (path,) = tmp_path.glob("events.*")
    path.write_bytes(path.read_bytes()[:-5])
    with RunLog(tmp_path, {}) as log:
        log.scalars(1, {"loss": 1.0})
        log.scalars(2, {"loss": 2.0})
    # Files of the same second are read in any order.
    assert sorted(step for step, _ in events(tmp_path)["loss"]) == [1, 2]


def failing(*_):
    raise OSError("the disk is on fire")


def test_a_pipe_among_the_event_files_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "events.out.tfevents.1")
    with RunLog(tmp_path, {}) as log:
        log.scalars(1, {"train/loss": 1.0})


def test_curves_that_fail_do_not_stop_a_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_log, "draw_curves", failing)
    with RunLog(tmp_path, {}) as log:
        log.epochs([{"epoch": 1}])
    assert lines(tmp_path) == [{"epoch": 1}]
    assert "curves.png: the disk is on fire; training continues" in capsys.readouterr().err


def test_tensorboard_that_fails_does_not_stop_a_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tensorflow.summary.create_file_writer", failing)
    with RunLog(tmp_path, {}) as log:
        log.scalars(1, {"loss": 1.0})
        log.images(1, "val", [np.zeros((4, 4, 3), np.uint8)])
        log.epochs([{"epoch": 1}])
    expected = "events.out.tfevents: the disk is on fire; training continues without it"
    assert capsys.readouterr().err.count(expected) == 1
    assert lines(tmp_path) == [{"epoch": 1}]


def test_a_full_disk_does_not_stop_a_training(small_disk, capsys):
    folder = small_disk(200_000)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    with RunLog(folder, {}) as log:
        for epoch in range(1, 4):
            log.images(epoch, "val", [noise])
            log.scalars(epoch, {"loss": 1.0})
            log.epochs([{"epoch": 1, "note": "x" * 300_000}])
    printed = capsys.readouterr().err
    assert "training continues" in printed
    assert "epochs.jsonl: needs 300.0 kB, and the disk is full" in printed
    assert not list(folder.glob("*.tmp"))


def test_a_full_disk_at_the_start_is_a_sentence(small_disk):
    folder = small_disk(8_192)
    with pytest.raises(OSError, match=r"config\.json: needs .* the disk is full"):
        RunLog(folder, {"about": "x" * 20_000})
