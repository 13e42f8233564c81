"""The settings of a network come from beside its weights, or from the weights themselves."""

import json
import os
import shutil
import sys

import pytest

import predict
from config.errors import UserError
from config.schema import PROJECT_ROOT, Config, load_config
from model.weights import WeightsError
from tests.model.text_encoders.bert_fixtures import write_settings
from tests.model.weights.weight_fixtures import fresh_pair, write_published
from tests.tiny import write_run
from utils.prediction import run_folder
from utils.prediction.predictor import Predictor
from utils.prediction.run_folder import (
    PUBLISHED_VECTORS,
    check_network_id,
    network_id,
    settings_of_weights,
)


@pytest.fixture
def run(tmp_path):
    """A run folder with settings of its own; returns (weights, anchors)."""
    folder = write_run(tmp_path, input_size=128, aspp_dilations=[1, 2, 4])
    return folder / "best.weights.h5", tmp_path / "anchors.txt"


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


def test_weights_that_were_replaced_since_their_settings_were_read_are_refused(run):
    weights, _ = run
    weights.write_bytes(b"weights")
    settings = settings_of_weights(weights)
    settings.check_unchanged()
    other = weights.with_name("other.weights.h5")
    other.write_bytes(weights.read_bytes())
    other.replace(weights)  # As a training does.
    with pytest.raises(UserError, match=r"best\.weights\.h5: was replaced while it was loaded"):
        settings.check_unchanged()


def test_files_that_download_fetches_are_named_with_their_command():
    with pytest.raises(FileNotFoundError, match=r"download\.py mcn-refcoco\+-vgg$"):
        settings_of_weights(PROJECT_ROOT / "data/weights/mcn_refcoco+_vgg.h5")


def test_a_network_of_this_project_needs_its_settings(tmp_path):
    demo = PROJECT_ROOT / "data/demo_model/mcn.weights.h5"
    assert settings_of_weights(demo).config.input_size == 256
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


def test_configs_of_narrower_networks_describe_no_checkpoint(checkpoint, tmp_path, monkeypatch):
    """Also if they are of the same data set, and whatever they are called."""
    shipped = PROJECT_ROOT / "config/refcocog.json"
    (tmp_path / "config").mkdir()
    shutil.copy(shipped, tmp_path / "config")
    narrow = json.loads(shipped.read_text()) | {"backbone_width": 0.25, "word_len": 5}
    (tmp_path / "config" / "a.json").write_text(json.dumps(narrow))
    monkeypatch.setattr(run_folder, "PROJECT_ROOT", tmp_path)
    assert settings_of_weights(checkpoint).config.word_len == 20


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


@pytest.fixture
def config(tmp_path):
    """Settings whose anchors and word vectors are files of the test."""
    (tmp_path / "anchors.txt").write_text("10,10,  20,20,  30,30\n")
    (tmp_path / "words.txt").write_text("red 1 2\nbox 3 4\n")
    return Config(
        anchors_file=str(tmp_path / "anchors.txt"),
        word_embed=str(tmp_path / "words.txt"),
        embed_dim=2,
    )


def test_weights_and_settings_identify_a_network(tmp_path, config):
    paths = [tmp_path / name for name in ("a.h5", "b.h5", "c.h5")]
    for path, content in zip(paths, (b"one", b"one", b"two"), strict=True):
        path.write_bytes(content)
    first, same, other = (network_id(config, path) for path in paths)
    assert first == same != other
    assert network_id(config.replace(use_nls=0), paths[0]) != first
    assert network_id(config.replace(evaluate_model=str(paths[2])), None) != first
    with pytest.raises(FileNotFoundError, match="no such weight file"):
        network_id(config, tmp_path / "d.h5")


def test_results_are_not_recorded_under_weights_that_were_replaced_while_loading(
    tmp_path, config, monkeypatch
):
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "photo.png").touch()
    weights, output = tmp_path / "a.weights.h5", tmp_path / "out"
    weights.write_bytes(b"one")
    before = network_id(config, weights, min_score=0.5)
    check_network_id(before, config, weights, min_score=0.5)
    arguments = ["--weights", weights, "--image", tmp_path / "photo.png", "--output", output]
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments), "--expression", "red"])
    monkeypatch.setattr(Predictor, "from_config", lambda *_, **__: weights.write_bytes(b"two"))
    with pytest.raises(UserError, match=r"a\.weights\.h5 or .* changed while they were loaded"):
        predict.main()
    assert not output.exists()


def test_another_smallest_score_is_another_setting(tmp_path, config):
    weights = tmp_path / "a.h5"
    weights.write_bytes(b"one")
    plain = network_id(config, weights)
    assert network_id(config, weights, min_score=0.0) == plain
    assert network_id(config, weights, min_score=0.5) != plain


def test_contents_of_anchors_and_word_vectors_identify_a_network(tmp_path, config):
    weights = tmp_path / "a.h5"
    weights.touch()
    found = [network_id(config, weights)]
    (tmp_path / "anchors.txt").write_text("10,10, 20,20, 30,30")  # The same sizes.
    assert network_id(config, weights) == found[0]
    (tmp_path / "anchors.txt").write_text("10,10, 20,20, 40,40")
    found.append(network_id(config, weights))
    (tmp_path / "words.txt").write_text("red 1 2\n")
    found.append(network_id(config, weights))
    (tmp_path / "words.txt").write_text("red 1 3\n")
    found.append(network_id(config, weights))
    assert len({*found}) == 4


def test_the_vocabulary_of_a_bert_identifies_a_network(tmp_path, config):
    weights, bert = tmp_path / "a.h5", tmp_path / "bert"
    weights.touch()
    bert.mkdir()
    write_settings(bert)
    config = config.replace(text_encoder="bert", bert_path=str(bert))
    before = network_id(config, weights)
    (tmp_path / "words.txt").write_text("red 1 3\n")  # Not read by this text encoder.
    assert network_id(config, weights) == before
    vocabulary = (bert / "vocab.txt").read_text().split()
    vocabulary[-2:] = vocabulary[:-3:-1]
    (bert / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    assert network_id(config, weights) != before
