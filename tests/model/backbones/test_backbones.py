"""Darknet-53 and VGG-16: their layers, order and features."""

import keras
import numpy as np
import pytest

from model.backbones import build_backbone
from model.layers.blocks import LayerFactory
from tests.model import reference
from tests.tiny import network_config, scramble

WIDTH = 0.0625


def backbone(name, side=64, blocks=(1, 1, 1, 1, 1)):
    image = keras.Input((side, side, 3))
    config = network_config(backbone=name, backbone_width=WIDTH, backbone_blocks=list(blocks))
    return keras.Model(image, list(build_backbone(LayerFactory(), image, config).features))


@pytest.fixture(scope="module")
def darknet():
    return scramble(backbone("darknet"))


@pytest.fixture(scope="module")
def vgg():
    return scramble(backbone("vgg"))


@pytest.mark.parametrize(
    ("name", "channels"), [("darknet", (1024, 512, 256)), ("vgg", (1024, 512, 512))]
)
def test_strides_and_channels(name, channels):
    outputs = backbone(name, side=96).outputs
    assert [tuple(t.shape) for t in outputs] == [
        (None, 96 // stride, 96 // stride, round(c * WIDTH))
        for stride, c in zip((32, 16, 8), channels, strict=True)
    ]


def filters_and_sizes(model):
    count = sum(layer.name.endswith("_conv") for layer in model.layers)
    convolutions = [model.get_layer(f"backbone_{n}_conv") for n in range(1, count + 1)]
    return [(c.filters, *c.kernel_size, *c.strides) for c in convolutions]


def test_darknet53_in_network_order():
    model = backbone("darknet", blocks=(1, 2, 8, 8, 4))
    expected = [(2, 3, 3, 1, 1)]
    for width, repeats in ((4, 1), (8, 2), (16, 8), (32, 8), (64, 4)):
        expected.append((width, 3, 3, 2, 2))
        expected += [(width // 2, 1, 1, 1, 1), (width, 3, 3, 1, 1)] * repeats
    expected += [(32, 1, 1, 1, 1), (64, 3, 3, 1, 1)] * 3
    assert filters_and_sizes(model) == expected
    assert len(expected) == 58
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == 23
    assert not any(c.use_bias for c in model.layers if isinstance(c, keras.layers.Conv2D))


def test_vgg16_in_network_order(vgg):
    widths = (4, 4, 8, 8, 16, 16, 16, 32, 32, 32, 32, 32, 32)
    expected = [(width, 3, 3, 1, 1) for width in widths]
    expected += [(32, 1, 1, 1, 1), (64, 3, 3, 1, 1)] * 3
    assert filters_and_sizes(vgg) == expected
    names = {layer.name for layer in vgg.layers}
    for number in range(1, 20):
        trunk = number <= 13
        assert vgg.get_layer(f"backbone_{number}_conv").use_bias == trunk
        assert (f"backbone_{number}_bn" in names) != trunk
        kernel = vgg.get_layer(f"backbone_{number}_conv").kernel
        assert kernel.regularizer.l2 == pytest.approx(5e-4)


def test_features_come_from_the_ends_of_their_stages(darknet, vgg):
    ends = {
        "darknet": ("backbone_22", "stage_4_add_1", "stage_3_add_1"),
        "vgg": ("backbone_19", "backbone_13", "backbone_10"),
    }
    for model, names in ((darknet, ends["darknet"]), (vgg, ends["vgg"])):
        for output, name in zip(model.outputs, names, strict=True):
            assert output is model.get_layer(name).output


def test_first_darknet_stage_pads_at_the_top_and_left(darknet):
    x = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
    part = keras.Model(darknet.input, darknet.get_layer("stage_1_add_1").output)
    stem = reference.cbl(x, darknet, "backbone_1")
    # A stride of two with zeros before the first row and column reads 3×3 around the even pixels.
    down = reference.cbl(stem, darknet, "backbone_2")[:, ::2, ::2]
    block = reference.cbl(reference.cbl(down, darknet, "backbone_3"), darknet, "backbone_4")
    np.testing.assert_allclose(part(x), down + block, atol=1e-5)


def test_first_vgg_group(vgg):
    x = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
    part = keras.Model(vgg.input, vgg.get_layer("pool_1").output)
    features = x
    for number in (1, 2):
        kernel, bias = vgg.get_layer(f"backbone_{number}_conv").get_weights()
        features = np.maximum(reference.conv_same(features, kernel) + bias, 0)
    n, height, width, channels = features.shape
    pooled = features.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    np.testing.assert_allclose(part(x), pooled, atol=1e-5)
