"""The fusion of image and text against NumPy."""

import keras
import numpy as np

from model.heads.fusion import build_fusion, build_visual_residual
from model.layers.blocks import LayerFactory
from tests.model import reference
from tests.tiny import scramble


def test_visual_residual():
    fv1 = keras.Input((4, 3, 8))
    model = scramble(keras.Model(fv1, build_visual_residual(LayerFactory(), fv1, 0.0625)))
    assert model.get_layer("fusion_1_conv").filters == 32
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 8)).astype(np.float32)
    wanted = x + reference.cbl(reference.cbl(x, model, "fusion_1"), model, "fusion_2")
    np.testing.assert_allclose(model(x), wanted, atol=1e-5)


def test_fusion():
    visual, fq = keras.Input((4, 3, 8)), keras.Input((5,))
    model = scramble(keras.Model([visual, fq], build_fusion(LayerFactory(), visual, fq)))
    rng = np.random.default_rng(0)
    v = rng.normal(size=(2, 4, 3, 8)).astype(np.float32)
    q = rng.normal(size=(2, 5)).astype(np.float32)
    kernel, bias = model.get_layer("fusion_text_dense").get_weights()
    text = reference.leaky(
        reference.batch_norm(q @ kernel + bias, model.get_layer("fusion_text_bn"))
    )
    wanted = reference.leaky(
        reference.batch_norm(v * text[:, None, None], model.get_layer("fusion_bn"))
    )
    np.testing.assert_allclose(model([v, q]), wanted, atol=1e-5)
