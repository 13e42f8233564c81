"""The optimizer is Keras' Adam with the published constants, clipping and loss scaling."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.training.optimizer import averaged_weights, build_optimizer

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


def test_averages_follow_the_variables():
    """Decays 0, 1/10, 2/11, …, until they reach that of the setting."""
    optimizer, [variable] = build_optimizer(0.1, ema=0.25), [keras.Variable([1.0, -2.0])]
    optimizer.build([variable])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [variable]))
    expected = np.zeros(2)
    for decay in (0.0, 1 / 10, 2 / 11, 3 / 12, 0.25, 0.25):
        step(tf.constant([0.5, -1.0]))
        expected = decay * expected + (1 - decay) * np.array(variable)
        np.testing.assert_allclose(optimizer.averages[0], expected, rtol=1e-6)
    assert np.abs(expected - np.array(variable)).min() > 0.01
    assert any(average is optimizer.averages[0] for average in optimizer.variables)


def test_averages_do_not_change_the_training():
    plain, averaged = run(build_optimizer(1.0)), run(build_optimizer(1.0, ema=0.9))
    assert len(averaged) == len(plain) + len(SHAPES)
    assert all(np.array_equal(a, b) for a, b in zip(plain, averaged, strict=False))


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_variables_have_their_averages_during_a_block(precision):
    optimizer = build_optimizer(0.1, precision=precision, ema=0.5)
    values = variables()
    optimizer.build(values)
    for number in range(3):
        optimizer.apply(gradients(number - 3), values)
    before = [np.array(v) for v in values]
    averages = [np.array(a) for a in getattr(optimizer, "inner_optimizer", optimizer).averages]
    with averaged_weights(values, optimizer):
        assert all(np.array_equal(v, a) for v, a in zip(values, averages, strict=True))
    assert all(np.array_equal(v, b) for v, b in zip(values, before, strict=True))
    assert all(not np.array_equal(a, b) for a, b in zip(averages, before, strict=True))


def test_variables_have_their_values_back_after_an_error():
    optimizer, values = build_optimizer(0.1, ema=0.5), variables()
    optimizer.build(values)
    with pytest.raises(ZeroDivisionError), averaged_weights(values, optimizer):
        1 / 0  # noqa: B018
    assert all(np.array_equal(v, b) for v, b in zip(values, variables(), strict=True))


def test_before_the_first_update_the_averages_are_the_values():
    optimizer, values = build_optimizer(0.1, ema=0.5), variables()
    optimizer.build(values)
    with averaged_weights(values, optimizer):
        assert all(np.array_equal(v, b) for v, b in zip(values, variables(), strict=True))


def test_gradients_that_overflow_change_no_average():
    optimizer, values = build_optimizer(0.1, precision="mixed_float16", ema=0.5), variables()
    optimizer.build(values)
    optimizer.apply([tf.fill(v.shape, np.float32("inf")) for v in values], values)
    assert not any(np.array(a).any() for a in optimizer.inner_optimizer.averages)
