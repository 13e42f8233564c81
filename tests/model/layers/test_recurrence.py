"""The recurrent cells: gradients as in Keras, dropout as in Keras 2, and settings they refuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.layers.recurrence import GRU, LSTM

KERAS = {GRU: keras.layers.GRU, LSTM: keras.layers.LSTM}


@pytest.mark.parametrize("layer_class", [GRU, LSTM])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_outputs_and_gradients_are_those_of_keras(
    layer_class, masked, go_backwards, return_sequences
):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(3, 5, 4)), tf.float32)
    mask = tf.constant(rng.integers(0, 2, (3, 5)), tf.bool) if masked else None
    settings = {"go_backwards": go_backwards, "return_sequences": return_sequences}
    if layer_class is GRU:
        settings["reset_after"] = False
    layers = [layer_class(6, **settings), KERAS[layer_class](6, **settings)]
    results = []
    for layer in layers:
        layer.build(x.shape)
        layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in layer.weights])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, mask=mask)
            loss = tf.reduce_sum(tf.sin(y))
        variables = [v.value for v in layer.trainable_variables]
        results.append([y, *tape.gradient(loss, [x, *variables])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("layer_class", [GRU, LSTM])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recurrent_dropout": 0.1}, "`recurrent_dropout` must be 0"),
        ({"use_bias": False}, "`use_bias` must be True"),
    ],
)
def test_settings_that_are_not_computed_are_refused(layer_class, settings, message):
    with pytest.raises(ValueError, match=f"{layer_class.__name__} .*{message}"):
        layer_class(4, **settings)


def test_the_reset_gate_comes_first():
    with pytest.raises(ValueError, match="`reset_after` must be False"):
        GRU(4, reset_after=True)
    assert GRU.from_config(GRU(4, name="gru").get_config()).cell.reset_after is False


@pytest.mark.parametrize("layer_class", [GRU, LSTM])
def test_inference_does_not_change_the_dropout_of_training(layer_class):
    layer = layer_class(6, dropout=0.5, seed=3)
    layer.build((3, 5, 4))
    x = tf.ones((3, 5, 4))
    first = layer(x, training=True)
    layer.cell.seed_generator.state.assign([3, 0])
    layer(x, training=False)
    np.testing.assert_array_equal(layer(x, training=True), first)


GATES = {GRU: 3, LSTM: 4}
RATE, WORDS = 0.3, 5


def masks_of(layer, n, width):
    """The input dropout of one training call, (N, T, gates, D), seen through identity kernels."""
    gates = GATES[type(layer)]
    layer.build((n, WORDS, width))
    layer.cell.kernel.assign(np.tile(np.eye(width), gates))
    layer.cell.bias.assign(np.zeros(gates * width))
    step, inputs = layer._make_step(), []
    layer._make_step = lambda: lambda states, x: inputs.append(x) or step(states, x)
    layer(tf.ones((n, WORDS, width)), training=True)
    return np.stack(inputs, axis=1).reshape(n, WORDS, gates, width)


@pytest.mark.parametrize("layer_class", [GRU, LSTM])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_each_gate_has_its_own_dropout_mask_for_all_words(layer_class, go_backwards):
    n, width = 40, 50
    layer = layer_class(width, dropout=RATE, seed=3, go_backwards=go_backwards)
    masks = masks_of(layer, n, width)
    np.testing.assert_array_equal(masks, np.repeat(masks[:, :1], WORDS, axis=1))
    masks = masks[:, 0]  # (N, gates, D)
    np.testing.assert_allclose(np.unique(masks), [0.0, 1 / (1 - RATE)], rtol=1e-6)
    kept = masks > 0
    # Shares of independent draws: within five standard deviations of their expectations.
    for gate in range(GATES[layer_class]):
        near = 5 * np.sqrt(RATE * (1 - RATE) / (n * width))
        assert kept[:, gate].mean() == pytest.approx(1 - RATE, abs=near)
        for other in range(gate):
            both, expected = (kept[:, gate] & kept[:, other]).mean(), (1 - RATE) ** 2
            near = 5 * np.sqrt(expected * (1 - expected) / (n * width))
            assert both == pytest.approx(expected, abs=near)
    assert len({sample.tobytes() for sample in kept}) == n


@pytest.mark.parametrize("layer_class", [GRU, LSTM])
def test_dropout_scales_inputs_and_gradients_by_the_masks(layer_class):
    """As a layer without dropout whose gates read the masked inputs."""
    n, width, units = 3, 4, 6
    x = tf.constant(np.random.default_rng(0).normal(size=(n, WORDS, width)), tf.float32)
    layer = layer_class(units, dropout=RATE, seed=5)
    masks = keras.random.dropout(tf.ones((GATES[layer_class], n, 1, width)), RATE, seed=5)
    layer.build(x.shape)
    layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in layer.weights])
    kernel, bias = layer.cell.kernel, layer.cell.bias
    with tf.GradientTape(persistent=True) as tape:
        gates = tf.split(kernel.value, len(masks), axis=1)
        projected = [tf.matmul(x * mask, gate) for mask, gate in zip(masks, gates, strict=True)]
        expected = tf.concat(projected, axis=-1) + bias
        expected_loss = tf.reduce_sum(tf.sin(expected))
        found = layer._project(x, training=True)
        loss = tf.reduce_sum(tf.sin(found))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for variable in (kernel.value, bias.value):
        gradient = tape.gradient(loss, variable)
        np.testing.assert_allclose(gradient, tape.gradient(expected_loss, variable), atol=1e-4)


@pytest.mark.parametrize("layer_class", [GRU, LSTM])
def test_dropout_acts_in_training_only_and_anew_in_each_call(layer_class):
    x = tf.ones((3, WORDS, 8))
    layer, without = layer_class(6, dropout=RATE, seed=3), layer_class(6)
    for each in (layer, without):
        each.build(x.shape)
    without.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(x), without(x))
    np.testing.assert_array_equal(without(x, training=True), without(x))
    first, second = layer(x, training=True), layer(x, training=True)
    assert np.abs(first - layer(x)).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("layer_class", [GRU, LSTM])
def test_the_directions_have_masks_of_their_own(layer_class):
    keras.utils.set_random_seed(0)
    both = keras.layers.Bidirectional(layer_class(8, dropout=RATE), merge_mode="sum")
    both.build((4, WORDS, 8))
    forward, backward = (masks_of(each, 4, 8) for each in (both.forward_layer, both.backward_layer))
    assert not np.array_equal(forward, backward)


@pytest.mark.parametrize("layer_class", [GRU, LSTM])
def test_the_state_of_the_seed_decides_the_masks(layer_class):
    """It is a variable of the layer, so that a resumed training draws the same masks."""
    layer = layer_class(8, dropout=RATE, seed=3)
    x = tf.ones((4, WORDS, 8))
    layer(x, training=True)
    state = np.array(layer.cell.seed_generator.state)
    expected = layer(x, training=True)
    other = layer_class(8, dropout=RATE, seed=9)
    other.build(x.shape)
    other.set_weights(layer.get_weights())
    other.cell.seed_generator.state.assign(state)
    np.testing.assert_array_equal(other(x, training=True), expected)
