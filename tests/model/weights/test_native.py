"""Files of our own networks: complete, or an error and the network untouched."""

import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from model.mcn import visual_backbone
from model.weights import WeightsError, load_pretrained, load_weights, save_weights
from model.weights.hdf5 import open_hdf5
from model.weights.native import check_text_branch, native_groups, native_transfers
from model.weights.transfer import fill
from tests.model.weights.weight_fixtures import (
    fresh_pair,
    randomize,
    same_weights,
    untouched,
    variant,
)

GRU = {"rnn_cell": "gru", "bidirectional": 0, "lang_att": 0}


@pytest.fixture(params=["darknet", "vgg"])
def pair(request):
    return fresh_pair(request.param)


@pytest.fixture
def darknet():
    return fresh_pair("darknet")


@pytest.fixture(scope="module")
def file_of_source(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "mcn.weights.h5"
    save_weights(fresh_pair("darknet").source, path)
    return path


@pytest.fixture
def saved(tmp_path, file_of_source):
    """A file of the Darknet source that a test may damage."""
    return shutil.copy(file_of_source, tmp_path / "mcn.weights.h5")


def in_backbone(name):
    return name.startswith("backbone_")


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_every_weight_comes_back(tmp_path, pair, suffix):
    path = tmp_path / f"mcn{suffix}"
    (pair.source.save if suffix == ".keras" else pair.source.save_weights)(path)
    for load in (load_weights, load_pretrained):
        fresh_pair(pair.backbone)
        report = load(pair.target, path)
        assert (report.missing, report.unused, report.notes) == ([], [], [])
        assert report.parameters == pair.source.count_params()
        assert same_weights(pair.source, pair.target) > 60


def test_the_network_computes_the_same(saved, darknet):
    load_weights(darknet.target, saved)
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.uniform(size=(1, 64, 64, 3)).astype("f4"),
        "words": rng.normal(size=(1, 4, 8)).astype("f4"),
    }
    ours, theirs = darknet.source(inputs), darknet.target(inputs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.slow
def test_single_direction_without_attention(tmp_path):
    source, target = variant(**GRU), variant(6, **GRU)
    randomize(target, 6)
    save_weights(source, tmp_path / "gru.weights.h5")
    load_weights(target, tmp_path / "gru.weights.h5")
    assert same_weights(source, target)


def test_backbone_alone(tmp_path, pair):
    path = tmp_path / "backbone.weights.h5"
    save_weights(visual_backbone(pair.source), path)
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
    with untouched(pair.target), pytest.raises(WeightsError, match="pretrained_weights"):
        load_weights(pair.target, path)


def test_layers_are_found_by_name_and_not_by_count(saved, darknet):
    # As a file of a network that was put together in another order would have them.
    with h5py.File(saved, "r+") as file:
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


def negative_variance(file):
    group_of(file, "fusion_bn")["vars/3"][0] = -1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_layer, "it lacks reduce_2_wide_conv"),
        (add_layer, "beyond this network, novel_conv"),
        (change_shape, "reduce_2_wide_conv is 1×1×2×2, where the network has 3×3"),
        (remove_array, "text_attention is 8×8, where the network has 8×8 \\+ 8"),
        (remove_direction, "bidirectional=0"),
        (remove_inner_arrays, "text_rnn/novel is .* network has nothing"),
        (put_nan, "not finite"),
        (negative_variance, "is a variance and holds negative"),
    ],
)
def test_damaged_file_is_refused_and_nothing_assigned(saved, darknet, damage, message):
    with h5py.File(saved, "r+") as file:
        damage(file)
    for load in (load_weights, load_pretrained):
        with untouched(darknet.target), pytest.raises(WeightsError, match=message):
            load(darknet.target, saved)


def test_layer_that_lost_an_inner_one(saved, darknet):
    with h5py.File(saved, "r+") as file:
        del group_of(file, "text_rnn")["backward_layer"]
    layers = [layer for layer in darknet.target.layers if layer.weights]
    with pytest.raises(WeightsError, match="lacks text_rnn/backward"), open_hdf5(saved) as file:
        native_transfers(layers, native_groups(file), saved)


def nested_network():
    """A layer that holds a network, as the BERT branch does, and layers in a dict."""
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


def test_layers_inside_layers(tmp_path):
    source, target = nested_network(), nested_network()
    path = tmp_path / "nested.weights.h5"
    source.save_weights(path)
    layers = [layer for layer in target.layers if layer.weights]
    with open_hdf5(path) as file:
        fill(native_transfers(layers, native_groups(file), path), path)
    for mine, theirs in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("network_reads_words", [True, False])
def test_bert_against_a_recurrent_cell(saved, darknet, network_reads_words):
    no_text = SimpleNamespace(layers=[])
    with open_hdf5(saved) as file:
        groups = native_groups(file)
        if network_reads_words:
            del groups["text_rnn"]
            with pytest.raises(WeightsError, match="key use_bert to 1"):
                check_text_branch(darknet.target, groups, saved)
            check_text_branch(no_text, groups, saved)
        else:
            with pytest.raises(WeightsError, match="key use_bert to 0"):
                check_text_branch(no_text, groups, saved)


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
    with untouched(network), pytest.raises(WeightsError, match=message):
        load_weights(network, saved)


def test_other_backbone_is_named(saved):
    network = fresh_pair("vgg").target
    with untouched(network), pytest.raises(WeightsError, match="decide it: backbone"):
        load_weights(network, saved)


def test_half_precision(tmp_path, darknet, saved):
    half = tmp_path / "half.weights.h5"
    save_weights(darknet.source, half, half=True, trained_on="demo scenes")
    assert half.stat().st_size < 0.75 * saved.stat().st_size  # the rest is the file's structure
    load_weights(darknet.target, half)
    expected = [array.astype("f2").astype("f4") for array in darknet.source.get_weights()]
    for ours, theirs in zip(darknet.target.get_weights(), expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    # Keras itself reads the file as well.
    fresh_pair("darknet").target.load_weights(half)
    for ours, theirs in zip(darknet.target.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with h5py.File(half) as file:
        assert file.attrs["trained_on"] == "demo scenes"


def test_value_beyond_half_precision_leaves_the_old_file(tmp_path):
    network = fresh_pair("darknet").target
    path = tmp_path / "half.weights.h5"
    path.write_bytes(b"before")
    network.get_layer("fusion_bn").moving_variance.assign(np.full(64, 7e4))
    with pytest.raises(WeightsError, match="70000 does not fit float16"):
        save_weights(network, path, half=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"before"


def test_name_to_save_under(tmp_path, darknet):
    with pytest.raises(WeightsError, match=r"must end in \.weights\.h5"):
        save_weights(darknet.source, tmp_path / "mcn.h5")


def test_report_in_words(saved, darknet):
    report = load_weights(darknet.target, saved)
    assert f"{len(report.entries)} arrays, {report.parameters:,} parameters" in str(report)
    assert "backbone_1_conv" in report.table()
    assert "3×3×3×2" in report.table()
