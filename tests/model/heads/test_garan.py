"""GARAN against a computation of K, V and S for each group."""

import keras
import numpy as np
import pytest

from model.heads.garan import GaranAttention, build_garan
from model.layers.blocks import LayerFactory
from tests.model import reference
from tests.tiny import scramble

PARTS = ("key", "value", "score", "query")


def data(seed=0, depth=12, text=8):
    rng = np.random.default_rng(seed)
    feature = rng.normal(size=(3, 4, 5, depth)).astype(np.float32)
    return feature, rng.normal(size=(3, text)).astype(np.float32)


def unit(groups=2, depth=12, text=8, **kwargs):
    layer = GaranAttention(groups, **kwargs)
    layer.build((None, 4, 5, depth), (None, text))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.7)
    return layer


def kernels(layer):
    return {
        part: tuple(np.array(getattr(layer, f"{part}_{kind}")) for kind in ("kernel", "bias"))
        for part in PARTS
    }


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_same_as_computing_keys_values_and_scores(groups):
    layer, (feature, fq) = unit(groups), data()
    attended, collect, diffuse = reference.garan(feature, fq, kernels(layer), groups)
    np.testing.assert_allclose(layer(feature, fq), attended, atol=1e-5)
    for result, expected in zip(layer.attention_maps(feature, fq), (collect, diffuse), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-5)
    assert np.ptp(attended) > 1  # zeros would equal anything scaled


def test_attention_maps_are_distributions_and_gates():
    collect, diffuse = unit().attention_maps(*data())
    assert collect.shape == diffuse.shape == (3, 4, 5, 2)
    np.testing.assert_allclose(np.sum(collect, axis=(1, 2)), 1.0, rtol=1e-5)
    assert np.ptp(collect) > 0.01
    assert 0 < np.min(diffuse) < 0.5 < np.max(diffuse) < 1


def test_groups_share_weights_and_nothing_else():
    layer, (feature, fq) = unit(), data()
    before = np.array(layer(feature, fq))
    feature[..., :6] += 1.0  # the first group's channels
    after = np.array(layer(feature, fq))
    np.testing.assert_allclose(after[..., 6:], before[..., 6:], atol=1e-6)
    assert np.abs(after[..., :6] - before[..., :6]).max() > 0.1
    feature, fq = data()
    swapped = np.array(layer(np.roll(feature, 6, axis=-1), np.roll(fq, 4, axis=-1)))
    np.testing.assert_allclose(swapped, np.roll(before, 6, axis=-1), atol=1e-5)


def test_block_adds_the_feature_and_returns_the_attended_one():
    feature, fq = keras.Input((4, 5, 12)), keras.Input((8,))
    model = keras.Model([feature, fq], build_garan(LayerFactory(), feature, fq, "unit"))
    scramble(model)
    f, q = data()
    attended, _, _ = reference.garan(f, q, kernels(model.get_layer("unit_attention")))
    output, handed_on = model([f, q])
    np.testing.assert_allclose(handed_on, attended, atol=1e-5)
    normed = reference.batch_norm(attended + f, model.get_layer("unit_bn"))
    np.testing.assert_allclose(output, reference.leaky(normed), atol=1e-5)


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_float16", 0.02), ("mixed_bfloat16", 0.15)]
)
def test_mixed_precision(policy, tolerance):
    full, mixed, (feature, fq) = unit(), unit(dtype=policy), data()
    output, expected = mixed(feature, fq), np.array(full(feature, fq))
    assert keras.backend.standardize_dtype(output.dtype) == policy.removeprefix("mixed_")
    assert (
        np.abs(np.array(output, np.float32) - expected).max() < tolerance * np.abs(expected).max()
    )


def test_configuration_is_kept():
    again = GaranAttention.from_config(unit(groups=4, name="unit").get_config())
    assert (again.groups, again.name) == (4, "unit")


def test_channels_that_the_groups_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"2 groups do not divide .* F and fq, \(6, 5\)"):
        GaranAttention(groups=2)(np.zeros((1, 2, 2, 6), "f"), np.zeros((1, 5), "f"))
