"""BatchNorm against Keras' own, and the blocks that the network is made of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.layers.batch_norm import BN_EPSILON, BatchNorm
from model.layers.blocks import LayerFactory
from model.layers.recurrence import hard_sigmoid
from tests.model import reference
from tests.tiny import scramble

SHAPES = {"maps": (3, 4, 5, 6), "vectors": (7, 6), "one pixel": (2, 1, 1, 6)}
MOMENTUM = 0.9


def samples(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * 2 + rng.normal(size=shape[-1])).astype(np.float32)


def filled(layer, shape, seed=1):
    layer.build(shape)
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.uniform(0.5, 1.5, shape[-1]) for _ in range(4)])
    return layer


def pair(shape, trainable=True, **kwargs):
    """Ours and Keras' own with the same weights."""
    settings = {"epsilon": BN_EPSILON, "momentum": MOMENTUM, "trainable": trainable}
    keras_own = keras.layers.BatchNormalization(**settings)
    return filled(BatchNorm(**settings, **kwargs), shape), filled(keras_own, shape)


def run(layer, x, training):
    """Output and gradients of a weighted sum of it in x and the trainable weights."""
    x = tf.constant(x)
    weight = tf.constant(samples(x.shape, seed=9))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        total = tf.reduce_sum(y * weight)
    watched = [x, *(v.value for v in layer.trainable_variables)]
    return np.array(y), [np.array(g) for g in tape.gradient(total, watched)]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_same_as_keras(shape, training, trainable):
    ours, theirs = pair(shape, trainable)
    x = samples(shape)
    (output, gradients), (expected, expected_gradients) = (
        run(layer, x, training) for layer in (ours, theirs)
    )
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, other, atol=2e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)


@pytest.mark.parametrize("shape", [SHAPES["maps"], SHAPES["vectors"]], ids=["maps", "vectors"])
def test_training_moves_the_variance_by_the_unbiased_estimate(shape):
    ours, theirs = pair(shape)
    before = np.array(ours.moving_variance)
    for layer in (ours, theirs):
        layer(samples(shape), training=True)
    n = np.prod(shape[:-1])
    batch_variance = np.array(theirs.moving_variance) - MOMENTUM * before
    expected = MOMENTUM * before + batch_variance * n / (n - 1)
    np.testing.assert_allclose(ours.moving_variance, expected, rtol=1e-5)
    assert not np.allclose(ours.moving_variance, theirs.moving_variance, rtol=1e-4)


def test_moving_mean_over_several_steps():
    ours, theirs = pair(SHAPES["maps"])
    for seed in range(5):
        for layer in (ours, theirs):
            layer(samples(SHAPES["maps"], seed), training=True)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)


@pytest.mark.parametrize("shape", [SHAPES["maps"], SHAPES["vectors"]], ids=["maps", "vectors"])
def test_frozen_with_batch_statistics(shape):
    ours, theirs = pair(shape, frozen_statistics="batch")
    ours.trainable = False
    before = ours.get_weights()
    x = samples(shape)
    trained, tested = (np.array(ours(x, training=training)) for training in (True, False))
    for now, then in zip(ours.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_allclose(tested, theirs(x, training=False), atol=1e-5)
    np.testing.assert_allclose(trained, theirs(x, training=True), atol=1e-5)
    assert np.abs(trained - tested).max() > 0.1


@pytest.mark.parametrize("frozen", ["moving", "batch"])
def test_frozen_statistics_are_not_updated(frozen):
    ours = filled(BatchNorm(frozen_statistics=frozen, trainable=False), SHAPES["maps"])
    before = ours.get_weights()
    ours(samples(SHAPES["maps"]), training=True)
    assert all(np.array_equal(a, b) for a, b in zip(before, ours.get_weights(), strict=True))


@pytest.mark.parametrize("training", [None, False])
def test_inference_updates_no_statistics(training):
    ours = filled(BatchNorm(), SHAPES["maps"])
    before = ours.get_weights()
    ours(samples(SHAPES["maps"]), training=training)
    assert all(np.array_equal(a, b) for a, b in zip(before, ours.get_weights(), strict=True))


@pytest.mark.parametrize("shape", [(1, 6), (1, 1, 1, 6)])
def test_a_batch_of_one_value_stays_finite(shape):
    ours = filled(BatchNorm(), shape)
    assert np.isfinite(ours(samples(shape), training=True)).all()
    assert all(np.isfinite(weight).all() for weight in ours.get_weights())


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("shape", [SHAPES["maps"], SHAPES["vectors"]], ids=["maps", "vectors"])
@pytest.mark.parametrize("training", [True, False])
def test_mixed_precision(policy, shape, training):
    full, mixed = filled(BatchNorm(), shape), filled(BatchNorm(dtype=policy), shape)
    x = samples(shape)
    output, expected = mixed(x, training=training), np.array(full(x, training=training))
    assert keras.backend.standardize_dtype(output.dtype) == policy.removeprefix("mixed_")
    step = {"mixed_float16": 2**-10, "mixed_bfloat16": 2**-7}[policy]
    error = np.abs(np.array(output, np.float32) - expected).max()
    assert error < 4 * step * np.abs(expected).max()
    for ours, theirs in zip(mixed.get_weights(), full.get_weights(), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=4 * step)


def test_configuration_is_kept():
    layer = BatchNorm(frozen_statistics="batch", momentum=0.7, name="bn", trainable=False)
    again = BatchNorm.from_config(layer.get_config())
    assert (again.frozen_statistics, again.momentum, again.epsilon) == ("batch", 0.7, BN_EPSILON)
    assert (again.name, again.trainable) == ("bn", False)


def test_saved_and_loaded(tmp_path):
    image = keras.Input((4, 5, 3))
    layers = LayerFactory(frozen_bn="batch")
    model = scramble(keras.Model(image, layers.cbl(image, 4, 3, "block")))
    model.get_layer("block_bn").trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = samples((2, 4, 5, 3))
    for training in (True, False):
        np.testing.assert_array_equal(model(x, training=training), loaded(x, training=training))


@pytest.mark.parametrize(
    ("x", "y"), [(-3, 0), (-2.5, 0), (-1, 0.3), (0, 0.5), (1, 0.7), (2.5, 1), (3, 1)]
)
def test_hard_sigmoid_has_the_slope_of_keras_2(x, y):
    assert float(hard_sigmoid(tf.constant(float(x)))) == pytest.approx(y)


def test_cbl():
    image = keras.Input((6, 7, 3))
    model = scramble(keras.Model(image, LayerFactory().cbl(image, 4, 3, "block")))
    assert [layer.name for layer in model.layers[1:]] == ["block_conv", "block_bn", "block"]
    assert not model.get_layer("block_conv").use_bias
    x = samples((2, 6, 7, 3))
    np.testing.assert_allclose(model(x), reference.cbl(x, model, "block"), atol=1e-5)


def test_settings_of_the_factory_reach_its_layers():
    image = keras.Input((6, 7, 3))
    layers = LayerFactory(weight_decay=0.5, bn_momentum=0.8, frozen_bn="batch")
    model = keras.Model(image, layers.conv(layers.cbl(image, 4, 3, "a"), 2, 1, "b", decay=False))
    norm = model.get_layer("a_bn")
    assert (norm.momentum, norm.frozen_statistics) == (0.8, "batch")
    kernel = model.get_layer("a_conv").kernel
    expected = 0.5 * float(tf.reduce_sum(kernel.value**2))
    assert float(kernel.regularizer(kernel)) == pytest.approx(expected)
    assert model.get_layer("b").kernel.regularizer is None
    assert model.get_layer("b").use_bias


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"center": False}, "`center` and `scale` are True"),
        ({"scale": False}, "`center` and `scale` are True"),
        ({"axis": 1}, "axis=1 must be -1"),
        ({"frozen_statistics": "none"}, "frozen_statistics='none'"),
    ],
)
def test_batch_norm_refuses_settings_that_it_does_not_compute(settings, message):
    with pytest.raises(ValueError, match=message):
        BatchNorm(**settings)


def test_batch_norm_refuses_sequences():
    with pytest.raises(ValueError, match=r"takes \(N, C\) or \(N, H, W, C\), not \(2, 5, 3\)"):
        BatchNorm()(np.zeros((2, 5, 3), np.float32))
