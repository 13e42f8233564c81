"""The top-down branch against concatenations and joint kernels in NumPy."""

import keras
import numpy as np
import pytest

from model.heads.segmentation import build_aspp, build_merge, build_side
from model.layers.blocks import LayerFactory
from tests.model import reference
from tests.tiny import scramble

COARSE, FINE, FILTERS = 6, 10, 8
DILATIONS = (1, 2, 4)


def build():
    coarse, fine = keras.Input((3, 4, COARSE)), keras.Input((6, 8, FINE))
    layers = LayerFactory()
    side = build_side(layers, fine, COARSE, FILTERS, 2)
    return keras.Model([coarse, fine], build_merge(layers, coarse, side, FINE, 2))


@pytest.fixture(scope="module")
def merge():
    return scramble(build())


def test_initial_kernels_have_the_range_of_the_joint_one():
    keras.utils.set_random_seed(0)
    merge = build()
    limit = np.sqrt(6 / (COARSE + FINE + FILTERS))
    kernels = [merge.get_layer(f"merge_2_{half}").get_weights()[0] for half in ("top", "side")]
    for kernel in kernels:
        assert 0.9 * limit < np.abs(kernel).max() <= limit


def test_merge_is_a_joint_convolution_of_the_concatenation(merge):
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(2, 3, 4, COARSE)).astype(np.float32)
    fine = rng.normal(size=(2, 6, 8, FINE)).astype(np.float32)
    lateral = reference.cbl(fine, merge, "lateral_2")
    assert lateral.shape[-1] == FINE
    joined = np.concatenate([reference.upsample(coarse), lateral], axis=-1)
    kernel = np.concatenate(
        [merge.get_layer(f"merge_2_{half}").get_weights()[0] for half in ("top", "side")], axis=2
    )
    assert kernel.shape == (1, 1, COARSE + FINE, FILTERS)
    normed = reference.batch_norm(
        reference.conv_same(joined, kernel), merge.get_layer("merge_2_bn")
    )
    np.testing.assert_allclose(merge([coarse, fine]), reference.leaky(normed), atol=1e-5)


def test_both_shares_of_the_joint_kernel_decay(merge):
    for half in ("top", "side"):
        assert merge.get_layer(f"merge_2_{half}").kernel.regularizer.l2 == pytest.approx(5e-4)


@pytest.fixture(scope="module")
def aspp():
    feature = keras.Input((9, 7, 6))
    return scramble(keras.Model(feature, build_aspp(LayerFactory(), feature, 4, DILATIONS)))


def test_aspp(aspp):
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 6)).astype(np.float32)
    paths = [reference.cbl(x, aspp, "aspp_0")]
    for index, dilation in enumerate(DILATIONS, start=1):
        paths.append(reference.cbl(x, aspp, f"aspp_{index}", dilation=dilation))
    pooled = reference.cbl(x.mean(axis=(1, 2), keepdims=True), aspp, "aspp_pool")
    spread = np.broadcast_to(pooled, paths[0].shape)
    joined = np.concatenate([spread, *paths], axis=-1)  # the pooled path comes first
    kernel, bias = aspp.get_layer("mask_logits").get_weights()
    wanted = reference.conv_same(joined, kernel) + bias
    assert wanted.shape == (2, 9, 7, 1)
    np.testing.assert_allclose(aspp(x), wanted, atol=1e-5)


def test_mask_logits_decay_and_are_float32():
    feature = keras.Input((9, 7, 6), dtype="float16")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        output = build_aspp(LayerFactory(), feature, 4, DILATIONS)
    finally:
        keras.config.set_dtype_policy(before)
    model = keras.Model(feature, output)
    assert output.dtype == "float32"
    assert model.get_layer("aspp_3").output.dtype == "float16"
    # A sum over 52×52 positions may exceed 65,504, the largest float16.
    assert model.get_layer("aspp_mean").output.dtype == "float32"
    assert model.get_layer("mask_logits").kernel.regularizer.l2 == pytest.approx(5e-4)


def test_aspp_saved_and_loaded(aspp, tmp_path):
    aspp.save(tmp_path / "aspp.keras")
    loaded = keras.models.load_model(tmp_path / "aspp.keras")
    x = np.random.default_rng(1).normal(size=(1, 9, 7, 6)).astype(np.float32)
    np.testing.assert_array_equal(aspp(x), loaded(x))
