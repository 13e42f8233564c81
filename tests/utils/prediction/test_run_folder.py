"""The settings of a network come from beside its weights, or from the weights themselves."""

import json
import os

import pytest

from config.errors import UserError
from config.schema import PROJECT_ROOT, load_config
from model.weights import WeightsError
from tests.model.weights.weight_fixtures import fresh_pair, write_published
from utils.prediction.run_folder import PUBLISHED_VECTORS, settings_of_weights


@pytest.fixture
def run(tmp_path):
    """A run folder with settings of its own; returns (weights, anchors)."""
    folder = tmp_path / "run"
    folder.mkdir()
    anchors = tmp_path / "anchors.txt"
    anchors.write_text("10,10,  20,20,  30,30\n")
    settings = {"input_size": 128, "anchors_file": str(anchors), "aspp_dilations": [1, 2, 4]}
    (folder / "config.json").write_text(json.dumps(settings))
    weights = folder / "best.weights.h5"
    weights.touch()
    return weights, anchors


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint in the layout of the authors, as if fetched by download.py."""
    folder = tmp_path_factory.mktemp("data") / "weights"
    folder.mkdir()
    return write_published(folder / "mcn_refcocog_darknet.h5", fresh_pair("darknet").source)


def test_the_missing_file_is_named(tmp_path):
    weights = tmp_path / "best.weights.h5"
    with pytest.raises(FileNotFoundError, match=r"best\.weights\.h5: no such weight file; name"):
        settings_of_weights(weights)
    weights.touch()
    with pytest.raises(WeightsError, match="is empty"):
        settings_of_weights(weights)


def test_files_that_download_fetches_are_named_with_their_command():
    with pytest.raises(FileNotFoundError, match=r"download\.py mcn-refcoco\+-vgg$"):
        settings_of_weights(PROJECT_ROOT / "data/weights/mcn_refcoco+_vgg.h5")


def test_a_network_of_this_project_needs_its_settings(tmp_path):
    demo = PROJECT_ROOT / "data/demo_model/mcn.weights.h5"
    assert settings_of_weights(demo).config.input_size == 128
    alone = tmp_path / "alone.weights.h5"
    alone.symlink_to(demo)
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file.*alone.*--config"):
        settings_of_weights(alone)
    config = PROJECT_ROOT / "data/demo_model/config.json"
    assert settings_of_weights(alone, config).config == load_config(config)


def test_settings_come_from_the_run(run):
    weights, anchors = run
    found = settings_of_weights(weights)
    assert (found.config.input_size, found.config.anchors_file) == (128, str(anchors))
    assert found.weights == str(weights)
    assert found.warnings == ()
    # Settings of the evaluation, not of the training.
    assert settings_of_weights(weights, None, ["segment_thresh=0.5"]).warnings == ()


def test_contradictions_are_listed_with_both_values(run, tmp_path, capsys):
    weights, anchors = run
    found = settings_of_weights(weights, None, ["input_size=96"])
    assert found.config.input_size == 96
    found.print_warnings()
    assert capsys.readouterr().err == (
        "warning: these settings are not those with which the network was trained, according to "
        f"{weights.parent}/config.json: input_size 96 instead of 128\n"
    )
    other = PROJECT_ROOT / "config/config.json"
    (warning,) = settings_of_weights(weights, other).warnings
    published = PROJECT_ROOT / "data/yolo_anchors.txt"
    assert (
        "aspp_dilations [6, 12, 18] instead of [1, 2, 4]; input_size 416 instead of 128" in warning
    )
    assert f"anchors_file {published} instead of {anchors}" in warning
    # The same anchors in another file are no contradiction.
    (tmp_path / "copy.txt").write_text("10, 10, 20, 20, 30, 30")
    assert settings_of_weights(weights, None, [f"anchors_file={tmp_path}/copy.txt"]).warnings == ()


def test_weights_that_a_config_names_are_compared_with_their_run(run, tmp_path):
    weights, _ = run
    config = tmp_path / "mine.json"
    config.write_text(json.dumps({"evaluate_model": str(weights), "input_size": 64}))
    found = settings_of_weights(None, config)
    assert (found.weights, found.config.input_size) == (str(weights), 64)
    assert "input_size 64 instead of 128" in found.warnings[0]


def test_a_checkpoint_determines_its_settings(checkpoint):
    found = settings_of_weights(checkpoint)
    config = found.config
    assert (config.rnn_cell, config.backbone_width, config.head_width) == ("lstm", 0.0625, 0.0625)
    assert (config.rnn_hidden_size, config.embed_dim, config.lang_att) == (8, 8, 1)
    # The data set is that of the name, with its number of words; the vectors are the closest ones.
    assert config.evaluate_set == str(PROJECT_ROOT / "data/anns/refcocog/val.txt")
    assert config.word_len == 20
    assert config.word_embed == str(PUBLISHED_VECTORS)
    assert found.warnings == ()
    override = settings_of_weights(checkpoint, None, ["word_embed=mine.txt", "rnn_cell=gru"])
    assert override.config.rnn_cell == "gru"
    assert "rnn_cell gru instead of lstm; word_embed" in override.warnings[0]


def test_a_config_decides_all_but_the_architecture_of_a_checkpoint(checkpoint):
    found = settings_of_weights(checkpoint, PROJECT_ROOT / "config/refcoco+_vgg.json")
    assert found.config.backbone == "darknet"
    assert found.config.evaluate_set == str(PROJECT_ROOT / "data/anns/refcoco+/val.txt")
    (warning,) = found.warnings
    assert "word_len 15 instead of 20; word_embed" in warning


def test_a_checkpoint_of_any_name_takes_the_default_data_set(tmp_path):
    path = write_published(tmp_path / "best_map.h5", fresh_pair("vgg").source)
    config = settings_of_weights(path).config
    assert (config.backbone, config.word_len) == ("vgg", 15)
    assert config.evaluate_set == str(PROJECT_ROOT / "data/anns/refcoco/val.txt")
    # A config.json beside it counts, as for all weights but those that download.py fetches.
    (tmp_path / "config.json").write_text('{"backbone": "vgg", "word_len": 7}')
    assert settings_of_weights(path).config.word_len == 7


def test_a_pipe_is_no_weight_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match=f"{path}: not a file"):
            settings_of_weights(path)
