"""The optimizer is Keras' Adam with the published constants, clipping and loss scaling."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.training.optimizer import build_optimizer

SHAPES = ((3, 4), (5,), ())


def variables(seed=0):
    rng = np.random.default_rng(seed)
    return [keras.Variable(rng.normal(size=shape).astype(np.float32)) for shape in SHAPES]


def gradients(step):
    rng = np.random.default_rng([1, step + 3])
    return [tf.constant(rng.normal(size=shape) * 10.0**step, tf.float32) for shape in SHAPES]


def keras_adam(**kwargs):
    return keras.optimizers.Adam(0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **kwargs)


def run(optimizer, steps=6):
    """Values and state after steps with different learning rates, in one compiled function."""
    values = variables()
    optimizer.build(values)
    step = tf.function(lambda *grads: optimizer.apply(list(grads), values))
    for number in range(steps):
        optimizer.learning_rate = 0.01 / (1 + number)
        step(*gradients(number - 3))
    assert step.experimental_get_tracing_count() == 1
    return [np.array(v) for v in [*values, *optimizer.variables]]


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_same_as_keras(clip_norm):
    ours = run(build_optimizer(1.0, clip_norm))
    theirs = run(keras_adam(global_clipnorm=clip_norm or None))
    start = [np.array(v) for v in variables()]
    for index, (value, expected) in enumerate(zip(ours, theirs, strict=True)):
        # In the kernel, as in the published implementation, 1 - beta_2 is rounded to float32, which
        # changes the velocities by 1.3e-5 and the updates, whose correction has it too, by less.
        np.testing.assert_allclose(value, expected, rtol=1.4e-5, atol=2e-7)
        if index < len(start):
            assert np.abs(value - start[index]).max() > 1e-3


def test_clipping_changes_the_update():
    free, clipped = run(build_optimizer(1.0)), run(build_optimizer(1.0, 0.5))
    assert np.abs(free[0] - clipped[0]).max() > 1e-3


def test_published_constants():
    adam = build_optimizer(3e-4)
    constants = (float(adam.learning_rate), adam.beta_1, adam.beta_2, adam.epsilon)
    assert constants == pytest.approx((3e-4, 0.9, 0.999, 1e-7))
    assert adam.global_clipnorm is None


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_no_loss_scale_where_the_range_suffices(precision):
    adam = build_optimizer(1e-3, precision=precision)
    assert float(adam.scale_loss(tf.constant(2.0))) == 2.0


def test_loss_scale_of_float16():
    optimizer = build_optimizer(0.01, precision="mixed_float16")
    values = variables()
    optimizer.build(values)
    optimizer.learning_rate = 0.02
    assert float(optimizer.inner_optimizer.learning_rate) == pytest.approx(0.02)
    scale = float(optimizer.scale_loss(tf.constant(1.0)))
    assert scale == 2**9
    before = [np.array(v) for v in values]
    overflow = [tf.fill(v.shape, np.float32("inf")) for v in values]
    optimizer.apply(overflow, values)
    assert all(np.array_equal(b, v) for b, v in zip(before, values, strict=True))
    assert float(optimizer.scale_loss(tf.constant(1.0))) == scale / 2
    optimizer.apply([g * scale / 2 for g in gradients(0)], values)
    expected = variables()
    plain = keras.optimizers.Adam(0.02)
    plain.apply(gradients(0), expected)
    for ours, theirs in zip(values, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
