"""Files of this project: loaded completely, or refused and the network unchanged."""

import shutil

import h5py
import numpy as np
import pytest

from config.hdf5_file import CHECKSUM, SEALED_BY
from model.mcn import visual_backbone, visual_trunk
from model.weights import WeightsError, load_pretrained, load_weights, save_weights
from model.weights.hdf5.content import open_hdf5
from model.weights.layouts import part_of
from model.weights.native import layer_groups, match_layers
from model.weights.published import text_settings_of
from model.weights.transfer import Match, fill
from tests.model.weights.weight_fixtures import (
    edited,
    fresh_pair,
    randomize,
    refused,
    same_weights,
    variant,
)

pytestmark = pytest.mark.slow

GRU = {"rnn_cell": "gru", "bidirectional": 0, "lang_att": 0}


@pytest.fixture(scope="module")
def file_of_source(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "mcn.weights.h5"
    save_weights(fresh_pair("darknet").source, path)
    return path


@pytest.fixture
def saved(tmp_path, file_of_source):
    """A copy of the Darknet source's file that a test may damage."""
    return shutil.copy(file_of_source, tmp_path / "mcn.weights.h5")


def in_backbone(name):
    return name.startswith("backbone_")


def attributes(path):
    with h5py.File(path) as file:
        seal = {CHECKSUM, SEALED_BY}
        assert seal <= set(file.attrs)
        return {name: value for name, value in file.attrs.items() if name not in seal}


def test_every_weight_is_restored(tmp_path, pair):
    path = tmp_path / "mcn.weights.h5"
    save_weights(pair.source, path)
    assert attributes(path) == {"mcn_part": "network", "mcn_backbone": pair.backbone}
    for load in (load_weights, load_pretrained):
        fresh_pair(pair.backbone)
        report = load(pair.target, path)
        assert (report.missing, report.unused, report.notes) == ([], [], [])
        assert report.parameters == pair.source.count_params()
        assert same_weights(pair.source, pair.target) > 60


def test_outputs_are_the_same(saved, darknet):
    load_weights(darknet.target, saved)
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.uniform(size=(1, 64, 64, 3)).astype("f4"),
        "words": rng.normal(size=(1, 4, 8)).astype("f4"),
    }
    ours, theirs = darknet.source(inputs), darknet.target(inputs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_single_direction_without_attention(tmp_path):
    network = variant(**GRU)
    before = network.get_weights()
    save_weights(network, tmp_path / "gru.weights.h5")
    randomize(network, 6)
    load_weights(network, tmp_path / "gru.weights.h5")
    for values, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(values, expected)


def test_backbone_alone(tmp_path, pair):
    path = tmp_path / "backbone.weights.h5"
    save_weights(visual_backbone(pair.source), path)
    assert attributes(path) == {"mcn_part": "backbone", "mcn_backbone": pair.backbone}
    before = {v.path: np.array(v) for v in pair.target.weights}
    report = load_pretrained(pair.target, path)
    assert same_weights(pair.source, pair.target, in_backbone)
    assert not any(map(in_backbone, report.missing))
    for name in report.missing:
        for variable in pair.target.get_layer(name).weights:
            np.testing.assert_array_equal(before[variable.path], variable)
    left = {
        layer.name for layer in pair.target.layers if layer.weights and not in_backbone(layer.name)
    }
    assert set(report.missing) == left
    with refused(pair.target, match="pretrained_weights"):
        load_weights(pair.target, path)


def test_trunk_alone(tmp_path, pair):
    path = tmp_path / "trunk.weights.h5"
    save_weights(visual_trunk(pair.source), path)
    assert attributes(path) == {"mcn_part": "trunk", "mcn_backbone": pair.backbone}
    trunk = {layer.name for layer in part_of(pair.source, "trunk").layers}
    report = load_pretrained(pair.target, path)
    assert same_weights(pair.source, pair.target, trunk.__contains__)
    weighted = {layer.name for layer in pair.target.layers if layer.weights}
    assert set(report.missing) == weighted - trunk
    # Six convolutions with BatchNorm follow the trunk.
    assert sum(map(in_backbone, report.missing)) == 12
    with refused(pair.target, match="pretrained_weights"):
        load_weights(pair.target, path)


@pytest.mark.parametrize("attribute", ["mcn_part", "mcn_backbone"])
def test_attributes_that_are_not_valid(saved, darknet, attribute):
    with edited(saved) as file:
        file.attrs["mcn_part"] = "head"
        if attribute == "mcn_backbone":
            file.attrs["mcn_part"] = "network"
            del file.attrs[attribute]
    with refused(darknet.target, match="mcn_part must be one of"):
        load_weights(darknet.target, saved)


def test_network_without_attributes_is_refused(tmp_path, darknet):
    for suffix in (".weights.h5", ".keras"):
        path = tmp_path / f"mcn{suffix}"
        (darknet.source.save if suffix == ".keras" else darknet.source.save_weights)(path)
        for load in (load_weights, load_pretrained):
            with refused(darknet.target, match="no attribute mcn_p"):
                load(darknet.target, path)


def test_layers_are_found_by_name_and_not_by_count(saved, darknet):
    # As in a file of a network that was assembled in another order.
    with edited(saved) as file:
        layers = file["layers"]
        names = {layers[key]["vars"].attrs["name"]: key for key in layers}
        first, second = names["aspp_1_conv"], names["aspp_2_conv"]
        layers.move(first, "held")
        layers.move(second, first)
        layers.move("held", second)
    load_weights(darknet.target, saved)
    assert same_weights(darknet.source, darknet.target)


def group_of(file, name):
    return next(g for g in file["layers"].values() if g["vars"].attrs["name"] == name)


def remove_layer(file):
    del file[group_of(file, "reduce_2_wide_conv").name]


def add_layer(file):
    group = file.create_group("layers/conv2d_77/vars")
    group.attrs["name"] = "novel_conv"
    group["0"] = np.ones((1, 1, 2, 2), "f4")


def change_shape(file):
    arrays = group_of(file, "reduce_2_wide_conv")["vars"]
    del arrays["0"]
    arrays["0"] = np.ones((1, 1, 2, 2), "f4")


def remove_array(file):
    del group_of(file, "text_attention")["vars"]["1"]


def remove_direction(file):
    del group_of(file, "text_rnn")["backward_layer"]


def remove_inner_arrays(file):
    arrays = group_of(file, "text_rnn")["forward_layer/cell/vars"]
    arrays.file.move(arrays.name, group_of(file, "text_rnn").name + "/novel/vars")


def put_nan(file):
    group_of(file, "merge_2_top")["vars/0"][0, 0, 0, 0] = np.inf


def put_overflow(file):
    """A number that is finite in the file, but not in the network."""
    array = group_of(file, "merge_2_top")["vars/0"]
    values, parent, name = array[...].astype(np.float64), array.parent, array.name
    values[0, 0, 0, 0] = 1e300
    del file[name]
    parent["0"] = values


def negative_variance(file):
    group_of(file, "fusion_bn")["vars/3"][0] = -1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_layer, "it lacks reduce_2_wide_conv"),
        (add_layer, "it has novel_conv, which this network lacks"),
        (
            change_shape,
            r"reduce_2_wide_conv \(conv 1×1×2×2\) does not fit reduce_2_wide_conv \(conv 3×3",
        ),
        (
            remove_array,
            r"text_attention \(dense 8×8\) does not fit text_attention \(dense 8×8 \+ 8\)",
        ),
        (remove_direction, "bidirectional=0"),
        (remove_inner_arrays, r"text_rnn/novel \(.*\) does not fit text_rnn \(no arrays\)"),
        (put_nan, "not finite"),
        (put_overflow, "not finite"),
        (negative_variance, "is a variance and holds negative"),
    ],
)
def test_damaged_file_is_refused_and_nothing_assigned(saved, darknet, damage, message):
    with edited(saved) as file:
        damage(file)
    for load in (load_weights, load_pretrained):
        with refused(darknet.target, match=message):
            load(darknet.target, saved)


def test_missing_nested_layer(saved, darknet):
    with edited(saved) as file:
        del group_of(file, "text_rnn")["backward_layer"]
    layers = [layer for layer in darknet.target.layers if layer.weights]
    with pytest.raises(WeightsError, match="lacks text_rnn/backward"), open_hdf5(saved) as file:
        match_layers(layers, layer_groups(file), saved)


def nested_network():
    """A layer with a nested network, like the BERT encoder, and with layers in a dict."""
    import keras

    class Encoder(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            words = keras.Input((5, 8))
            attended = keras.layers.MultiHeadAttention(2, 4, name="attend_1")(words, words)
            attended = keras.layers.MultiHeadAttention(2, 4, name="attend_2")(attended, attended)
            self.transformer = keras.Model(words, attended, name="transformer")
            self.heads = {key: keras.layers.Dense(8, name=f"head_{key}") for key in ("b", "a")}

        def call(self, inputs):
            return self.heads["a"](self.heads["b"](self.transformer(inputs)))

    words = keras.Input((5, 8))
    return keras.Model(words, keras.layers.Dense(3, name="last")(Encoder(name="bert")(words)))


def test_nested_layers(tmp_path):
    source, target = nested_network(), nested_network()
    path = tmp_path / "nested.weights.h5"
    source.save_weights(path)
    layers = [layer for layer in target.layers if layer.weights]
    with open_hdf5(path) as file:
        match = Match("nested", match_layers(layers, layer_groups(file), path))
        report = fill(match, path, layers)
    assert report.missing == []
    for mine, theirs in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_file_without_a_recurrent_layer_names_the_key(saved, darknet):
    with edited(saved) as file:
        del file[group_of(file, "text_rnn").name]
    with refused(darknet.target, match="--set text_encoder=bert"):
        load_weights(darknet.target, saved)
    assert text_settings_of(part_of(darknet.target, "backbone")) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (GRU, "rnn_cell=lstm bidirectional=1 lang_att=1"),
        ({"rnn_hidden_size": 6, "embed_dim": 5}, "rnn_hidden_size=8 embed_dim=8"),
        ({"backbone_blocks": [1, 1, 1, 1, 1]}, "backbone_blocks"),
        ({"head_width": 0.125}, "head_width"),
    ],
)
def test_settings_that_do_not_fit_are_named(saved, changes, message):
    network = variant(**changes)
    with refused(network, match=message):
        load_weights(network, saved)


def test_other_backbone_is_named(saved):
    network = fresh_pair("vgg").target
    with refused(
        network,
        match=r"network with backbone=vgg; settings that fit:\n  --set backbone=darknet backbone_b",
    ):
        load_weights(network, saved)


def test_half_precision(tmp_path, darknet, saved):
    half = tmp_path / "half.weights.h5"
    save_weights(darknet.source, half, half=True, trained_on="demo scenes")
    assert half.stat().st_size < 0.75 * saved.stat().st_size  # the rest is metadata
    load_weights(darknet.target, half)
    expected = [array.astype("f2").astype("f4") for array in darknet.source.get_weights()]
    for ours, theirs in zip(darknet.target.get_weights(), expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    # Keras itself can read the file, too.
    fresh_pair("darknet").target.load_weights(half)
    for ours, theirs in zip(darknet.target.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert attributes(half)["trained_on"] == "demo scenes"
    assert attributes(half)["mcn_part"] == "network"


def test_value_beyond_float16_leaves_the_old_file(tmp_path):
    network = fresh_pair("darknet").target
    path = tmp_path / "half.weights.h5"
    path.write_bytes(b"before")
    network.get_layer("fusion_bn").moving_variance.assign(np.full(64, 7e4))
    with pytest.raises(WeightsError, match="value 70000 exceeds 65504"):
        save_weights(network, path, half=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"before"


def test_name_of_the_file(tmp_path, darknet):
    with pytest.raises(WeightsError, match=r"must end in \.weights\.h5"):
        save_weights(darknet.source, tmp_path / "mcn.h5")


def test_report_as_text(saved, darknet):
    report = load_weights(darknet.target, saved)
    assert f"{len(report.entries)} arrays, {report.parameters:,} parameters" in str(report)
    assert "backbone_1_conv" in report.table()
    assert "3×3×3×2" in report.table()
