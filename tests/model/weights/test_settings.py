"""Weights that do not fit a network: one error lists all settings that differ, ready for --set."""

import re

import numpy as np
import pytest

from config.schema import load_config
from model.mcn import visual_backbone
from model.weights import WeightsError, load_pretrained, load_weights, save_weights
from model.weights.inspection import describe
from model.weights.layouts import BACKBONE, NETWORK
from model.weights.settings import model_settings
from tests.model.weights.weight_fixtures import (
    TINY,
    fresh_pair,
    variant,
    write_darknet,
    write_published,
)

OTHER = {
    "backbone_width": 0.125,
    "backbone_blocks": [1, 1, 1, 1, 1],
    "head_width": 0.125,
    "rnn_cell": "gru",
    "rnn_hidden_size": 6,
    "embed_dim": 5,
    "lang_att": 0,
}
FITTING = (
    "backbone_width=0.0625 backbone_blocks=[1,1,2,1,1] rnn_cell=lstm lang_att=1 "
    "rnn_hidden_size=8 embed_dim=8 head_width=0.0625"
)


def pasted(error):
    """The line after --set, as words of a command line."""
    return re.search(r"\n  --set (.+)$", str(error.value))[1].split()


@pytest.mark.parametrize("load", [load_weights, load_pretrained])
def test_all_settings_that_differ_are_listed_at_once(tmp_path, darknet, load):
    path = tmp_path / "mcn.weights.h5"
    save_weights(darknet.source, path)
    with pytest.raises(WeightsError) as error:
        load(variant(**OTHER), path)
    assert pasted(error) == FITTING.split()
    message = str(error.value)
    assert message.startswith(f"{path}: does not fit a network with backbone_width=0.125 ")
    # The values are those of `inspect`, and can be pasted.
    assert set(pasted(error)) <= set(re.search("config with (.+)", str(describe(path)))[1].split())
    settings = tmp_path / "settings.json"
    settings.write_text("{}")
    config = load_config(settings, pasted(error))
    assert {key: getattr(config, key) for key in OTHER} == {
        key: (TINY | {"rnn_cell": "lstm", "lang_att": 1})[key] for key in OTHER
    }


def test_one_setting_alone(tmp_path, darknet):
    path = tmp_path / "mcn.weights.h5"
    save_weights(darknet.source, path)
    for changes, expected in (
        ({"head_width": 0.125}, "head_width=0.0625"),
        ({"backbone_blocks": [1, 2, 8, 8, 4]}, "backbone_blocks=[1,1,2,1,1]"),
    ):
        with pytest.raises(WeightsError) as error:
            load_weights(variant(**changes), path)
        assert pasted(error) == [expected]


def test_a_backbone_lists_the_settings_of_the_backbone(tmp_path, darknet):
    path = tmp_path / "backbone.weights.h5"
    save_weights(visual_backbone(darknet.source), path)
    with pytest.raises(WeightsError) as error:
        load_pretrained(variant(**OTHER), path)
    assert pasted(error) == ["backbone_width=0.0625", "backbone_blocks=[1,1,2,1,1]"]


def test_a_checkpoint_of_the_authors(tmp_path, darknet):
    path = write_published(tmp_path / "best_map.h5", darknet.source)
    with pytest.raises(WeightsError) as error:
        load_weights(variant(**(OTHER | {"backbone_blocks": TINY["backbone_blocks"]})), path)
    assert pasted(error) == [word for word in FITTING.split() if "blocks" not in word]


def test_a_darknet_file_needs_the_full_size(tmp_path, darknet, monkeypatch):
    path = write_darknet(tmp_path / "yolo.weights", [(np.ones((3, 3, 3, 32)), np.ones(32), None)])
    full = ("darknet", "YOLOv3", 80)
    monkeypatch.setattr("model.weights.inspection.full_size_contents", lambda length: full)
    with pytest.raises(WeightsError) as error:
        load_pretrained(darknet.target, path)
    assert pasted(error) == ["backbone_width=1.0", "backbone_blocks=[1,2,8,8,4]"]


def test_another_backbone(tmp_path, darknet):
    path = tmp_path / "mcn.weights.h5"
    save_weights(darknet.source, path)
    with pytest.raises(WeightsError) as error:
        load_weights(fresh_pair("vgg").target, path)
    assert pasted(error) == ["backbone=darknet", "backbone_blocks=[1,1,2,1,1]"]


def test_the_settings_of_a_network_are_those_of_its_file(tmp_path, pair):
    path = tmp_path / "mcn.weights.h5"
    save_weights(pair.source, path)
    assert model_settings(pair.source, NETWORK) == describe(path).settings
    save_weights(visual_backbone(pair.source), path)
    assert model_settings(pair.source, BACKBONE) == describe(path).settings
