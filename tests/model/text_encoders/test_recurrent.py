"""The recurrent text encoder against the cells of Keras 2.2.4 in NumPy."""

import keras
import numpy as np
import pytest

from model.text_encoders.recurrent import build_language_feature
from tests.model import reference
from tests.tiny import scramble

T, D, UNITS = 5, 6, 4


def branch(dropout=0.3, **settings):
    words = keras.Input((T, D))
    return keras.Model(
        words, build_language_feature(words, units=UNITS, dropout=dropout, **settings)
    )


def expressions():
    """Three expressions: full, padded, with an unknown word and padding."""
    words = np.random.default_rng(3).normal(size=(3, T, D)).astype(np.float32)
    words[1, 2:] = 0
    words[2, [1, 4]] = 0
    return words


def expected(model, words, cell, bidirectional, attention):
    weights = model.get_layer("text_rnn").get_weights()
    mask = None if attention else words.any(axis=-1)
    directions = [reference.recurrent(cell, words, *weights[:3], mask=mask)]
    if bidirectional:
        backwards = None if mask is None else mask[:, ::-1]
        directions.append(reference.recurrent(cell, words[:, ::-1], *weights[3:], mask=backwards))
    if not attention:
        return sum(outputs[:, -1] for outputs in directions)
    sequence = directions[0] + (directions[1][:, ::-1] if bidirectional else 0)
    kernel, bias = model.get_layer("text_attention").get_weights()
    weight = reference.softmax(np.tanh(sequence @ kernel + bias), axis=1)
    return (sequence * weight).sum(axis=1)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("attention", [True, False])
def test_same_as_keras_2(cell, bidirectional, attention):
    model = branch(cell=cell, bidirectional=bidirectional, attention=attention)
    scramble(model)
    words = expressions()
    result = np.array(model(words))
    assert result.shape == (3, UNITS)
    np.testing.assert_allclose(
        result, expected(model, words, cell, bidirectional, attention), atol=1e-5
    )


@pytest.mark.parametrize("attention", [True, False])
def test_padding_counts_with_attention_alone(attention):
    model = scramble(branch(cell="gru", bidirectional=False, attention=attention))
    words = np.zeros((2, T, D), np.float32)
    words[:, :2] = expressions()[0, :2]
    words[1, 2] = 1e-3  # nearly, but not exactly, a zero row
    padded, longer = np.array(model(words))
    assert np.allclose(padded, longer, atol=1e-3) == attention


@pytest.mark.parametrize("bidirectional", [True, False])
def test_forget_gate_starts_open(bidirectional):
    model = branch(cell="lstm", bidirectional=bidirectional)
    weights = model.get_layer("text_rnn").get_weights()
    biases = weights[2::3]
    assert len(biases) == 1 + bidirectional
    for bias in biases:
        np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], UNITS))


def test_dropout_belongs_to_training():
    words = expressions()
    model = scramble(branch(dropout=0.5))
    np.testing.assert_array_equal(model(words, training=False), model(words, training=False))
    assert not np.allclose(model(words, training=True), model(words, training=True))
    without = scramble(branch(dropout=0.0))
    np.testing.assert_allclose(without(words, training=True), without(words), atol=1e-6)


def test_dropout_acts_on_inputs_and_attention_scores():
    model = branch(dropout=0.25)
    rnn = model.get_layer("text_rnn")
    for direction in (rnn.forward_layer, rnn.backward_layer):
        assert (direction.cell.dropout, direction.cell.recurrent_dropout) == (0.25, 0.0)
    assert model.get_layer("text_dropout").rate == 0.25


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("attention", [True, False])
def test_saved_and_loaded(tmp_path, cell, attention):
    model = scramble(branch(cell=cell, attention=attention))
    model.save(tmp_path / "text.keras")
    loaded = keras.models.load_model(tmp_path / "text.keras")
    np.testing.assert_array_equal(model(expressions()), loaded(expressions()))
