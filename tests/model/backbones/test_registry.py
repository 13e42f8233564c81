"""The registry of backbones: a new backbone is one function, and mistakes are explained."""

import keras
import numpy as np
import pytest

from config.errors import ConfigError
from config.registry import Registry
from model.backbones import (
    Backbone,
    backbone_names,
    build_backbone,
    load_named_weights,
    weight_names,
)
from model.backbones.registry import register_backbone
from model.layers.blocks import LayerFactory
from model.mcn import build_mcn, frozen_cut, visual_backbone, visual_trunk
from tests.tiny import network_config, outputs_of, random_batch


@pytest.fixture
def registry(monkeypatch):
    """An empty registry of backbones."""
    monkeypatch.setattr("model.backbones.registry._REGISTRY", Registry("backbone"))


def pooling_backbone(strides=(32, 16, 8)):
    """A builder of three poolings with a 1×1 convolution each, of which the first is frozen."""

    def build(layers, image, config):
        features = tuple(
            layers.conv(keras.layers.AveragePooling2D(stride)(image), 8, 1, f"pooled_{stride}")
            for stride in strides
        )
        return Backbone(features, frozen_end=features[:1])

    return build


def test_the_backbones_of_the_project():
    assert backbone_names() == ["convnext_tiny", "darknet", "vgg"]
    assert [weight_names(name) for name in backbone_names()] == [["imagenet"], [], []]


def test_a_registered_backbone_is_built_by_its_name(registry):
    register_backbone("pooling")(pooling_backbone())
    config = network_config(backbone="pooling", jemb_dim=0, free_body=1)
    model = build_mcn(config)
    assert model.backbone.name == "pooling"
    assert [t.shape[1:] for t in visual_backbone(model).outputs] == [
        (side, side, 8) for side in (3, 6, 12)
    ]
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
    assert frozen == ["pooled_32"]
    assert frozen_cut(model) == [model.get_layer("pooled_32").output]
    assert all(np.isfinite(x).all() for x in outputs_of(model, random_batch(config)).values())
    with pytest.raises(ValueError, match="pooling has no trunk"):
        visual_trunk(model)


def test_a_builder_gets_the_preprocessed_image(registry):
    inputs = []

    def build(layers, image, config):
        inputs.append(image)
        return pooling_backbone()(layers, image, config)

    register_backbone("pooling", preprocess=lambda image: image * 255.0)(build)
    image = keras.Input((64, 64, 3))
    build_backbone(LayerFactory(), image, network_config(backbone="pooling"))
    assert keras.Model(image, inputs[0])(np.ones((1, 64, 64, 3), np.float32)).numpy().min() == 255


def test_named_weights(registry):
    filled = []
    register_backbone("pooling", named_weights={"zeros": filled.append})(pooling_backbone())
    assert weight_names("pooling") == ["zeros"]
    load_named_weights("zeros", "pooling", "the backbone")
    assert filled == ["the backbone"]


def test_unknown_names_are_refused_when_the_network_is_built():
    with pytest.raises(ConfigError, match=r'"darknet53".*convnext_tiny, darknet, vgg.*"darknet"\?'):
        build_mcn(network_config(backbone="darknet53"))


def test_wrong_strides_are_refused(registry):
    register_backbone("pooling")(pooling_backbone(strides=(32, 16, 16)))
    with pytest.raises(ValueError, match=r"backbone pooling: features on grids .*\(6, 6\)\], not"):
        build_mcn(network_config(backbone="pooling", jemb_dim=0))


@pytest.mark.parametrize("jemb_dim", [0, 64])
def test_jemb_dim_follows_the_channels_of_fv1(jemb_dim):
    model = build_mcn(network_config(jemb_dim=jemb_dim))
    assert model.get_layer("visual").output.shape[-1] == 64


def test_another_jemb_dim_is_refused():
    with pytest.raises(ConfigError, match="jemb_dim = 65: must be 0 or 64, the channels of Fv1"):
        build_mcn(network_config(jemb_dim=65))
