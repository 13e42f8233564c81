"""ConvNeXt-Tiny: a backbone that one file adds, with weights that Keras provides.

The download of the ImageNet weights is replaced by a local file: the real one needs a network.
"""

import keras
import numpy as np
import pytest

from config.errors import ConfigError
from model.mcn import build_mcn, frozen_cut, visual_backbone
from model.weights import load_pretrained, load_weights, save_weights
from tests.tiny import network_config, outputs_of, random_batch, weights_of

pytestmark = pytest.mark.slow

SETTINGS = {"backbone": "convnext_tiny", "backbone_width": 1.0, "jemb_dim": 0, "input_size": 64}
CHANNELS = (768, 384, 192)


@pytest.fixture(scope="module")
def model():
    return build_mcn(network_config(**SETTINGS, free_body=1))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A ConvNeXt-Tiny of Keras Applications with other random weights, and their file."""
    source = keras.applications.ConvNeXtTiny(include_top=False, weights=None)
    path = tmp_path_factory.mktemp("keras") / "convnext_tiny_notop.weights.h5"
    source.save_weights(path)
    return source, path


@pytest.fixture
def download(monkeypatch, published):
    """Replaces the download by the file of `published`; returns the list of requested URLs."""
    urls = []

    def get_file(name, origin, **kwargs):
        urls.append(origin)
        return str(published[1])

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    return urls


def test_strides_and_channels(model):
    shapes = [tuple(t.shape) for t in visual_backbone(model).outputs]
    assert shapes == [
        (None, 64 // stride, 64 // stride, c)
        for stride, c in zip((32, 16, 8), CHANNELS, strict=True)
    ]
    outputs = outputs_of(model, random_batch(network_config(**SETTINGS)))
    assert outputs["boxes"].shape == (2, 2, 2, 15)
    assert outputs["mask"].shape == (2, 8, 8, 1)
    assert all(np.isfinite(value).all() for value in outputs.values())


def test_free_body_1_freezes_the_whole_trunk(model):
    part = visual_backbone(model)
    assert len(part.weights) > 150
    assert not part.trainable_variables
    others = [layer for layer in model.layers if layer not in part.layers and layer.weights]
    assert all(layer.trainable for layer in others)
    assert "fusion_1_conv" in {layer.name for layer in others}
    assert frozen_cut(model) == list(model.backbone.features)


def test_seed_decides_the_initial_weights(model):
    same, other = (build_mcn(network_config(**SETTINGS, seed=s)) for s in (10010, 1))
    ours = visual_backbone(model).get_weights()
    again, different = (visual_backbone(m).get_weights() for m in (same, other))
    assert all(np.array_equal(a, b) for a, b in zip(ours, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(ours, different, strict=True))


def test_imagenet_weights_give_the_features_of_keras_applications(model, published, download):
    source, _ = published
    network = build_mcn(network_config(**SETTINGS, seed=1))
    report = load_pretrained(network, "imagenet")
    assert download == [
        "https://storage.googleapis.com/tensorflow/keras-applications/convnext/"
        "convnext_tiny_notop.h5"
    ]
    part = visual_backbone(network)
    assert len(report.entries) == len(part.weights)
    assert "fusion_1_conv" in report.missing
    # Stages end where the next one downsamples, the last one before the final normalization.
    ends = [source.get_layer(f"convnext_tiny_downsampling_block_{i}") for i in (1, 2)]
    stages = keras.Model(source.input, [source.layers[-1].input, ends[1].input, ends[0].input])
    image = random_batch(network_config(**SETTINGS))["image"]
    for ours, theirs in zip(part(image), stages(image * 255.0), strict=True):
        assert np.std(theirs) > 0.1
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_own_weight_files(model, tmp_path):
    network = build_mcn(network_config(**SETTINGS, seed=1))
    save_weights(visual_backbone(model), tmp_path / "backbone.weights.h5")
    load_pretrained(network, tmp_path / "backbone.weights.h5")
    pairs = zip(visual_backbone(network).weights, visual_backbone(model).weights, strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    save_weights(model, tmp_path / "mcn.weights.h5")
    load_weights(network, tmp_path / "mcn.weights.h5")
    ours, theirs = weights_of(network).values(), weights_of(model).values()
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_another_width_is_refused():
    with pytest.raises(ConfigError, match=r"backbone_width = 0.5: .* must be 1.0"):
        build_mcn(network_config(**{**SETTINGS, "backbone_width": 0.5}))
