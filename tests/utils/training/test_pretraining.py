"""Pretraining of a backbone as a detector, through its command line, on four tiny images."""

import json
import re
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from config.errors import NoSpaceError, UserError
from data.preparation.detection import read_instances
from model.losses import smooth_l1
from model.mcn import build_mcn, visual_backbone
from model.weights import WeightsError, load_pretrained
from tests.tiny import weights_of, write_instances
from utils import pretrain
from utils.training import pretraining
from utils.training.pretraining import OBJECT_WEIGHT, detection_loss

pytestmark = pytest.mark.slow


@pytest.fixture
def command(tiny_set, tmp_path, monkeypatch):
    """Function that runs the command with arguments and settings and returns the config."""

    def run(*arguments, output="backbone.weights.h5", **settings):
        given = {"batch_size": 4, "lr": 0.01, "bn_momentum": 0.5, "free_body": 1} | settings
        config = tiny_set.config(**given)
        (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
        instances = write_instances(tmp_path / "instances.json")
        line = ["pretrain", "--config", tmp_path / "config.json", "--instances", instances]
        line += ["--output", tmp_path / output, *arguments]
        monkeypatch.setattr(sys, "argv", [str(part) for part in line])
        pretrain.main()
        return config

    return run


def test_the_loss_falls_and_training_can_start_from_the_output(command, tmp_path, capsys):
    """Bit by bit the same backbone each time, which the seed decides."""
    left_out = tmp_path / "left out.txt"
    left_out.write_text("c.png\nnot there.png\n")
    config = command("--epochs", 12, "--leave_out", left_out)
    output = capsys.readouterr().out
    assert "\n1 of 2 listed images left out\n" in output
    losses = [float(x) for x in re.findall(r" loss: ([0-9.e+]+)", output)]
    assert len(losses) == 12
    assert losses[-1] < 0.6 * losses[0]

    model = build_mcn(config)
    before = weights_of(model)
    report = load_pretrained(model, tmp_path / "backbone.weights.h5")
    assert not any(name.startswith("backbone_") for name in report.missing)
    assert "fusion_1_conv" in report.missing
    after = weights_of(model)
    for path in before:
        # All of the backbone trains, whether or not later training freezes it.
        assert np.array_equal(before[path], after[path]) != path.startswith("backbone_"), path

    command("--epochs", 12, "--leave_out", left_out, output="again.weights.h5")
    load_pretrained(model, tmp_path / "again.weights.h5")
    again = weights_of(model)
    assert all(np.array_equal(after[path], again[path]) for path in after)


def test_float16_scales_the_loss(tiny_set, tmp_path):
    config = tiny_set.config(precision="mixed_float16", batch_size=4)
    objects = read_instances(write_instances(tmp_path / "instances.json"))
    detector = pretraining._detector(visual_backbone(build_mcn(config)), objects, config, 1)
    assert isinstance(detector.optimizer, keras.optimizers.LossScaleOptimizer)


def test_pretraining_in_float16_stays_finite(command, tmp_path):
    config = command("--epochs", 2, precision="mixed_float16")
    model = build_mcn(config)
    load_pretrained(model, tmp_path / "backbone.weights.h5")
    assert all(np.isfinite(value).all() for value in weights_of(model).values())


def test_weights_that_are_no_numbers_are_never_written(command, tmp_path, monkeypatch):
    def nan_loss(_):
        return lambda truth, prediction: tf.reduce_sum(prediction, axis=(1, 2, 3)) * np.nan

    monkeypatch.setattr(pretraining, "detection_loss", nan_loss)
    with pytest.raises(UserError, match="epoch 1: weights are infinite or not a number"):
        command("--epochs", 9)
    assert not (tmp_path / "backbone.weights.h5").exists()


def test_a_full_disk_is_noticed_before_training(command, small_disk, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("it trains"))
    output = small_disk(50_000) / "backbone.weights.h5"
    with pytest.raises(NoSpaceError, match=rf"{output} needs .* free some space"):
        command(output=output)
    assert not list(output.parent.iterdir())


def test_a_disk_that_fills_up_during_training_keeps_the_earlier_file(
    command, small_disk, monkeypatch
):
    disk = small_disk(20_000_000)
    output = disk / "backbone.weights.h5"
    output.write_bytes(b"earlier")

    def fill(*_, **__):
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 50_000))

    monkeypatch.setattr(keras.Model, "fit", fill)
    with pytest.raises(NoSpaceError, match=rf"{output}: needs .* the disk is full"):
        command("--overwrite", output=output)
    assert sorted(path.name for path in disk.iterdir()) == ["backbone.weights.h5", "ballast"]
    assert output.read_bytes() == b"earlier"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [(("--epochs", 0), "--epochs 0: must be at least 1"), (("--trained_on", "a\nb"), "one line")],
)
def test_arguments_are_checked_before_training(command, monkeypatch, arguments, fault):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("it trains"))
    with pytest.raises(UserError, match=fault):
        command(*arguments)


def test_the_output_name_is_checked_first(command):
    with pytest.raises(WeightsError, match=r"backbone\.h5: the name must end in \.weights\.h5"):
        command(output="backbone.h5")
    with pytest.raises(WeightsError, match=r"/\.weights\.h5: the name is only the suffix"):
        command(output=".weights.h5")


def test_an_existing_file_is_noticed_before_training(command, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("it trains"))
    output = tmp_path / "backbone.weights.h5"
    output.write_bytes(b"earlier")
    with pytest.raises(WeightsError, match=rf"^{output} exists; .* or pass --overwrite$"):
        command()
    assert output.read_bytes() == b"earlier"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_appears_in_the_place_of_the_output_during_training_is_kept(
    command, tmp_path, monkeypatch, capsys, overwrite
):
    """A file of others, or, with --overwrite, a folder; the backbone gets a free name."""
    output = tmp_path / "backbone.weights.h5"

    def fit_meanwhile(*_, **__):
        output.mkdir() if overwrite else output.write_bytes(b"mine")
        (tmp_path / "backbone-2.weights.h5").symlink_to(tmp_path / "nothing")

    monkeypatch.setattr(keras.Model, "fit", fit_meanwhile)
    config = command("--epochs", 1, *["--overwrite"] * overwrite)
    written = tmp_path / "backbone-3.weights.h5"
    printed = capsys.readouterr()
    assert printed.err == f"warning: {output} exists by now; writing {written} instead\n"
    assert f"Backbone written to {written}; " in printed.out
    load_pretrained(build_mcn(config), written)
    assert output.is_dir() if overwrite else output.read_bytes() == b"mine"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the list is empty"),
        (b"\n \n", "the list is empty"),
        (b"\xff\xd8", "not UTF-8 text"),
        (b"x.png\n", "has none of the 1 images to leave out"),
    ],
)
def test_lists_that_leave_nothing_out_are_refused(command, tmp_path, content, fault):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UserError, match=fault):
        command("--leave_out", tmp_path / "list.txt")


def grid(cells):
    """(1, 2, 2, 9) of one sample: object or not, box, classes of two groups of two."""
    channels = np.zeros((1, 2, 2, 9), np.float32)
    for place, values in cells.items():
        channels[(0, *place)] = values
    return tf.constant(channels)


def cross_entropy(label, logit):
    p = 1 / (1 + np.exp(-logit))
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


def test_detection_loss_by_hand():
    truth = grid({(0, 1): (1, 0.25, 0.5, 0.1, -1, 1, 0, 0, 0)})  # its second class is unknown
    prediction = grid(
        {(0, 1): (2, 0.5, 0.5, 0.1, -1.5, 3, 1, 5, -5), (1, 0): (-1, 9, 9, 9, 9, 9, 9, 9, 9)}
    )
    background = 2 * cross_entropy(0, 0) + cross_entropy(0, -1)
    confidence = OBJECT_WEIGHT * cross_entropy(1, 2)
    box = float(smooth_l1(tf.constant(-0.25)) + smooth_l1(tf.constant(0.5)))
    classes = np.log(1 + np.exp(-2))
    loss = detection_loss((2, 2))(truth, prediction)
    assert loss.shape == (1,)
    assert float(loss[0]) == pytest.approx(background + confidence + box + classes, rel=1e-5)
