"""The co-energy against a loop over positions."""

import keras
import numpy as np
import pytest

from model.heads.cem import CoEnergy, build_co_energy
from model.layers.blocks import LayerFactory
from tests.model import reference
from tests.tiny import scramble


def data(seed=0):
    rng = np.random.default_rng(seed)
    mask_energy, box_energy = rng.normal(size=(3, 6, 4, 1)) * 3, rng.normal(size=(3, 3, 2, 1)) * 3
    mask_feature, box_feature = rng.normal(size=(3, 6, 4, 5)), rng.normal(size=(3, 3, 2, 5))
    mask_feature[0, 0, 0] = 0.0  # a zero vector
    mask_feature[1, 0, 0] = -2 * box_feature[1, 0, 0]  # opposite
    mask_feature[2, 0, 0] = 3 * box_feature[2, 0, 0]  # parallel
    return [x.astype(np.float32) for x in (mask_energy, box_energy, mask_feature, box_feature)]


def test_same_as_a_loop_over_positions():
    result, expected = np.array(CoEnergy()(*data())), reference.co_energy(*data())
    assert result.shape == (3, 1)
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    assert np.ptp(expected) > 0.01


def test_agreement_and_opposition_are_the_extremes():
    rng = np.random.default_rng(0)
    direction = rng.normal(size=5)
    feature = np.broadcast_to(direction, (1, 2, 2, 5)).astype(np.float32)
    energy = rng.normal(size=(1, 2, 2, 1)).astype(np.float32)
    layer = CoEnergy()
    assert float(layer(energy, energy, feature, feature)[0, 0]) == pytest.approx(1 - 1e-6, abs=2e-7)
    assert float(layer(energy, energy, feature, -feature)[0, 0]) == pytest.approx(1e-6, rel=1e-2)
    assert float(layer(energy, energy, feature, 0 * feature)[0, 0]) == pytest.approx(0.5)


def test_large_energies_stay_finite():
    mask_energy, box_energy, *features = data()
    result = CoEnergy()(1e4 * mask_energy, 1e4 * box_energy, *features)
    assert np.isfinite(result).all()


def test_block():
    mask, box = keras.Input((6, 4, 5)), keras.Input((3, 2, 5))
    model = scramble(keras.Model([mask, box], build_co_energy(LayerFactory(), mask, box)))
    _, _, f_s, f_c = data()
    energies = []
    for name, feature in (("cem_mask", f_s), ("cem_box", f_c)):
        kernel, bias = model.get_layer(name).get_weights()
        assert model.get_layer(name).kernel.regularizer is None
        energies.append(reference.conv_same(feature, kernel) + bias)
    expected = reference.co_energy(*energies, f_s, f_c)
    np.testing.assert_allclose(model([f_s, f_c]), expected, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_float32_whatever_the_network_computes_in(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = CoEnergy()
    finally:
        keras.config.set_dtype_policy(before)
    assert layer.compute_dtype == "float32"
    assert CoEnergy.from_config(layer.get_config()).compute_dtype == "float32"
    np.testing.assert_allclose(layer(*data()), reference.co_energy(*data()), rtol=1e-5)
