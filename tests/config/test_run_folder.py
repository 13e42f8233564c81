"""`pretrained_weights` may name the folder of a run, whose network the config then takes over."""

import json
import os

import pytest

from config.errors import ConfigError
from config.run_folder import NETWORK, files_of_run
from config.schema import Config, load_config
from tests.tiny import write_run

TRAINED = {
    "backbone_width": 0.25,
    "backbone_blocks": [1, 1, 2, 2, 1],
    "head_width": 0.25,
    "aspp_dilations": [1, 2, 4],
    "rnn_cell": "gru",
    "rnn_hidden_size": 128,
    "embed_dim": 50,
    "word_len": 10,
    "input_size": 128,
    "mask_target": "area",
    "bn_momentum": 0.95,
    "lr": 0.002,
}
DESCRIBED = [key for key in TRAINED if key != "lr"]


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run."""
    paths = {"word_embed": str(tmp_path / "vectors.50d.txt"), "log_path": str(tmp_path / "run")}
    return write_run(tmp_path, **Config(**TRAINED, **paths).to_dict())


@pytest.fixture
def load(run, tmp_path):
    """Loads a config that contains these settings and starts from the run."""

    def load(overrides=(), report=None, **settings):
        file = tmp_path / "mine.json"
        mine = {"pretrained_weights": str(run), "log_path": str(tmp_path / "log"), **settings}
        file.write_text(json.dumps(mine))
        return load_config(file, overrides, report)

    return load


def test_settings_that_the_user_does_not_set_are_those_of_the_run(load, run, tmp_path):
    messages = []
    config = load(report=messages.append)
    assert config.pretrained_weights == str(run / "best.weights.h5")
    assert {key: getattr(config, key) for key in DESCRIBED} == {k: TRAINED[k] for k in DESCRIBED}
    assert config.anchors_file == str(tmp_path / "anchors.txt")
    assert config.word_embed == str(tmp_path / "vectors.50d.txt")
    # Settings of the training are the user's own.
    assert (config.lr, config.log_path) == (Config().lr, str(tmp_path / "log"))
    start, taken = messages
    assert start == f"start: {run}/best.weights.h5"
    assert taken.startswith(f"settings of {run}/config.json: backbone_width=0.25 ")
    assert " backbone_blocks=[1,1,2,2,1] " in taken


def test_the_folder_can_be_named_on_the_command_line(load, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "./run", str(run)):
        config = load(["pretrained_weights=" + name], pretrained_weights="")
        assert config.pretrained_weights == str(run / "best.weights.h5")
        assert config.rnn_cell == "gru"


def test_a_weight_file_is_used_with_the_settings_of_the_config(load, run):
    config = load(pretrained_weights=str(run / "best.weights.h5"))
    assert config.rnn_cell == Config().rnn_cell


def test_all_contradictions_are_listed_at_once(load, run):
    with pytest.raises(ConfigError) as error:
        load(["embed_dim=300"], rnn_cell="lstm", backbone_blocks=[1, 1, 1, 1, 1], word_len=10)
    assert str(error.value) == (
        f"pretrained_weights = {run}: is a run of another network: backbone_blocks "
        "[1, 1, 1, 1, 1] instead of [1, 1, 2, 2, 1]; rnn_cell lstm instead of gru; embed_dim 300 "
        "instead of 50; omit these settings, or set:\n"
        "  --set backbone_blocks=[1,1,2,2,1] rnn_cell=gru embed_dim=50"
    )


def test_what_fits_any_weights_is_the_choice_of_the_user(load, run, tmp_path):
    (tmp_path / "same.txt").write_text("10,10, 20,20, 30,30")
    messages = []
    config = load(
        report=messages.append,
        input_size=256,
        word_len=15,
        anchors_file=str(tmp_path / "same.txt"),
        bn_momentum=0.9,
    )
    assert (config.input_size, config.word_len, config.bn_momentum) == (256, 15, 0.9)
    assert messages[-1] == (
        f"warning: settings other than those of {run}/config.json: input_size 256 instead of 128; "
        "word_len 15 instead of 10"
    )


def test_a_run_that_is_resumed_does_not_need_the_folder(load, run, tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    started = load()
    (log / "config.json").write_text(json.dumps(started.to_dict()))
    run.rename(tmp_path / "moved")
    assert load() == started
    # Its own settings say nothing about another start.
    other = load(pretrained_weights=str(tmp_path / "other/run"))
    assert (other.rnn_cell, other.pretrained_weights) == ("lstm", str(tmp_path / "other/run"))


def test_a_resumed_run_does_not_need_the_folder_whatever_its_weights_are_called(
    load, run, tmp_path
):
    (run / "best.weights.h5").rename(run / "mcn.weights.h5")
    settings = json.loads((run / "config.json").read_text())
    settings["evaluate_model"] = str(run / "mcn.weights.h5")
    (run / "config.json").write_text(json.dumps(settings))
    started = load()
    (tmp_path / "log").mkdir()
    (tmp_path / "log/config.json").write_text(json.dumps(started.to_dict()))
    run.rename(tmp_path / "moved")
    assert load() == started


def test_a_registered_name_is_no_folder_of_that_name(load, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()
    assert load(pretrained_weights="imagenet").pretrained_weights == "imagenet"
    assert load(["pretrained_weights=run"]).pretrained_weights == str(run / "best.weights.h5")


def test_anchors_are_compared_by_their_numbers_and_pipes_not_at_all(load, tmp_path):
    (tmp_path / "same.txt").write_text("10.0, 10.0, 20.0, 20.0, 30.0, 30.0")
    os.mkfifo(tmp_path / "pipe")
    for name, differ in (("same.txt", False), ("pipe", True)):
        messages = []
        load(report=messages.append, anchors_file=str(tmp_path / name))
        assert ("anchors_file" in messages[-1]) == differ


def test_a_folder_that_is_no_run_is_refused(load, run):
    (run / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"run: is no run, since there is no .*config\.json"):
        load()


def test_networks_that_are_not_called_best_are_found_by_their_settings(load, run):
    (run / "best.weights.h5").rename(run / "mcn.weights.h5")
    settings = json.loads((run / "config.json").read_text())
    settings["evaluate_model"] = str(run / "mcn.weights.h5")
    (run / "config.json").write_text(json.dumps(settings))
    assert load().pretrained_weights == str(run / "mcn.weights.h5")


def test_a_run_is_named_by_its_folder_or_a_file_in_it(run, tmp_path):
    settings, weights = run / "config.json", run / "best.weights.h5"
    assert files_of_run(run) == (settings, None)
    assert files_of_run(settings) == (settings, None)
    assert files_of_run(weights) == (settings, weights)
    with pytest.raises(ConfigError, match="no such run"):
        files_of_run(tmp_path / "nowhere")


def test_the_keys_are_settings():
    assert set(NETWORK) <= set(Config().to_dict())
