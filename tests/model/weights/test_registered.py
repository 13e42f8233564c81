"""Backbones beyond those of the paper, weights registered by name, and text encoders."""

import json
from dataclasses import replace

import numpy as np
import pytest

from model.backbones import registry
from model.backbones.darknet53 import build_darknet53
from model.mcn import visual_backbone, visual_trunk
from model.weights import (
    WeightsError,
    load_pretrained,
    load_text_encoder,
    load_weights,
    save_weights,
)
from model.weights.__main__ import main
from model.weights.inspection import describe
from tests.model.weights.weight_fixtures import (
    TINY,
    backbone_arrays,
    detector_layers,
    fresh_pair,
    same_weights,
    tiny_network,
    untouched,
    write_darknet,
    write_keras2,
    write_published,
)

pytestmark = pytest.mark.slow


def fill_with_ones(backbone):
    for variable in backbone.weights:
        variable.assign(np.ones(variable.shape))


def fail_to_download(backbone):
    raise Exception("URL fetch failure")


@pytest.fixture(scope="module")
def networks():
    """Two networks with a backbone "plain", which is a Darknet-53 without a trunk."""

    def build(layers, image, config):
        return replace(build_darknet53(layers, image, config), trunk_end=None)

    named = {"ones": fill_with_ones, "unreachable": fail_to_download}
    registry.register_backbone("plain", named_weights=named)(build)
    yield tiny_network(1, backbone="plain"), tiny_network(2, backbone="plain")
    del registry._REGISTRY._entries["plain"]


def test_own_files_of_any_backbone(tmp_path, networks):
    source, target = networks
    path = tmp_path / "plain.weights.h5"
    save_weights(visual_backbone(source), path)
    load_pretrained(target, path)
    assert same_weights(source, target, lambda name: name.startswith("backbone_"))
    assert describe(path).settings["backbone"] == "plain"
    save_weights(source, path)
    load_weights(target, path)
    assert same_weights(source, target) > 60
    assert describe(path).settings["backbone"] == "plain"
    other = fresh_pair("darknet").target
    with untouched(other), pytest.raises(WeightsError, match=r"--set backbone=plain$"):
        load_weights(other, path)


def test_trunk_file_for_a_backbone_without_trunk(tmp_path, networks):
    path = tmp_path / "trunk.weights.h5"
    save_weights(visual_trunk(fresh_pair("darknet").source), path)
    with untouched(networks[1]), pytest.raises(WeightsError, match="--set backbone=darknet back"):
        load_pretrained(networks[1], path)


def test_files_of_other_projects_are_refused(tmp_path, networks):
    source = fresh_pair("darknet").source
    arrays = backbone_arrays(source)
    files = [
        write_darknet(tmp_path / "yolo.weights", arrays),
        write_keras2(tmp_path / "yolo.h5", detector_layers(arrays)),
        write_published(tmp_path / "best_map.h5", source),
    ]
    for path in files:
        with (
            untouched(networks[1]),
            pytest.raises(WeightsError, match=r"only the backbones darknet and vgg, but .* plain"),
        ):
            load_pretrained(networks[1], path)


def test_weights_by_name(networks):
    _, target = networks
    report = load_pretrained(target, "ones")
    backbone = visual_backbone(target)
    assert all((np.array(variable) == 1).all() for variable in backbone.weights)
    assert len(report.entries) == len(backbone.weights)
    assert report.parameters == backbone.count_params()
    left = {layer.name for layer in target.layers if layer.weights}
    assert set(report.missing) == left - {layer.name for layer in backbone.layers}
    assert str(report).startswith("ones: weights of plain: ")


def test_named_weights_can_be_converted(tmp_path, networks):
    (tmp_path / "config.json").write_text(json.dumps(TINY | {"backbone": "plain"}))
    target = tmp_path / "ones.weights.h5"
    main(["convert", "ones", str(target), "--config", str(tmp_path / "config.json")])
    assert describe(target).kind == "backbone of MCN, plain, 24 convolutions"
    assert describe(target).trained_on == "ones"


def test_names_that_do_not_exist_list_those_that_do(networks):
    with untouched(networks[1]), pytest.raises(WeightsError, match="available: ones, unreachable"):
        load_pretrained(networks[1], "two")
    darknet = fresh_pair("darknet").target
    with (
        untouched(darknet),
        pytest.raises(WeightsError, match=r"darknet has no .*\(available: none"),
    ):
        load_pretrained(darknet, "imagenet")


def test_failed_download_is_one_sentence(networks):
    with (
        untouched(networks[1]),
        pytest.raises(WeightsError, match=r"unreachable: .*URL fetch fail"),
    ):
        load_pretrained(networks[1], "unreachable")


def test_file_with_the_form_of_a_name(tmp_path, monkeypatch):
    pair = fresh_pair("darknet")
    monkeypatch.chdir(tmp_path)
    write_darknet(tmp_path / "imagenet", backbone_arrays(pair.source))
    load_pretrained(pair.target, "imagenet")
    assert same_weights(pair.source, pair.target, lambda name: name.startswith("backbone_"))


def test_recurrent_text_encoders_have_no_checkpoint(tmp_path):
    network = fresh_pair("darknet").target
    with untouched(network):
        assert load_text_encoder(network, tmp_path) is None
