"""The recurrent cells: gradients as in Keras, and settings that they refuse."""

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
