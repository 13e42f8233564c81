"""The bottom-up branch against NumPy."""

import keras
import numpy as np
import pytest

from model.heads.detection import build_box_logits, build_reduce
from model.layers.blocks import LayerFactory
from tests.model import reference
from tests.tiny import scramble


@pytest.mark.parametrize(("channels", "narrowed"), [(8, False), (9, True), (3, False)])
def test_reduce(channels, narrowed):
    fine, coarse = keras.Input((6, 8, channels)), keras.Input((3, 4, 5))
    model = keras.Model([fine, coarse], build_reduce(LayerFactory(), fine, coarse, 8, 2))
    scramble(model)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 8, channels)).astype(np.float32)
    y = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    assert narrowed == any(layer.name == "reduce_2_in_conv" for layer in model.layers)
    down = reference.average_pool(reference.cbl(x, model, "reduce_2_in") if narrowed else x)
    down = reference.cbl(down, model, "reduce_2_narrow")
    assert down.shape[-1] == 4
    down = reference.cbl(down, model, "reduce_2_wide")
    np.testing.assert_allclose(model([x, y]), np.concatenate([down, y], axis=-1), atol=1e-5)


def test_box_logits():
    feature = keras.Input((3, 4, 6))
    model = scramble(keras.Model(feature, build_box_logits(LayerFactory(), feature, 3)))
    kernel, bias = model.get_layer("box_logits").get_weights()
    assert model.get_layer("box_logits").kernel.regularizer.l2 == pytest.approx(5e-4)
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(model(x), reference.conv_same(x, kernel) + bias, atol=1e-5)
    assert model.output_shape == (None, 3, 4, 15)
