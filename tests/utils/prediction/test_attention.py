"""Attention maps are aligned with the photograph."""

import keras
import numpy as np
import pytest

from data.loading.letterbox import Letterbox
from tests.tiny import ANCHORS
from utils.prediction.attention import Attention, AttentionReader, draw_attention
from utils.prediction.expressions import ExpressionReader
from utils.prediction.grounder import Grounder
from utils.prediction.prediction import to_record
from utils.prediction.predictor import Predictor


def attention_at(row, column, geometry):
    """Attention concentrated in one cell of each grid, in both groups."""
    mask, box = np.zeros((12, 12, 2), np.float32), np.zeros((3, 3, 2), np.float32)
    mask[row, column] = box[row // 4, column // 4] = 1
    return Attention(mask, box, geometry)


@pytest.mark.parametrize("branch", ["mask", "box"])
def test_the_letterbox_border_is_cropped(branch):
    # 192×96 in a square of 96: rows 24 to 71 hold the photograph, at half its size.
    geometry = Letterbox.fit(192, 96, 96)
    heat = attention_at(5, 9, geometry).over_photograph(branch)
    assert heat.shape == (96, 192)
    assert heat.dtype == np.float32
    assert heat.max() == 1
    assert heat.min() >= 0
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    size = 8 if branch == "mask" else 32
    center = np.array([(5 * 8 // size + 0.5) * size - 24, (9 * 8 // size + 0.5) * size]) * 2
    assert np.abs([row - center[0], column - center[1]]).max() <= size


def test_the_size_can_be_chosen():
    geometry = Letterbox.fit(192, 96, 96)
    heat = attention_at(5, 9, geometry).over_photograph("mask", width=96, height=48)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert heat.shape == (48, 96)
    assert np.abs([row - 20, column - 76]).max() <= 4


def test_attention_in_the_border_alone_is_dark():
    heat = attention_at(0, 0, Letterbox.fit(192, 96, 96)).over_photograph("mask")
    assert heat.max() == 0


def test_strong_attention_is_drawn_bright():
    image = np.full((20, 30, 3), (200, 60, 60), np.uint8)
    heat = np.zeros((20, 30), np.float32)
    heat[5, 7] = 1
    drawn = draw_attention(image, heat)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert np.ptp(drawn[0, 0].astype(int)) == 0
    assert drawn[5, 7].astype(int).sum() > 2 * drawn[0, 0].astype(int).sum()


def test_words_are_weighed_as_the_network_weighs_them(network, grounder, tiny_set):
    config, texts = tiny_set.config(), ["red box", "the box on the left side"]
    reader, attention = ExpressionReader(config), AttentionReader(network())
    inputs = reader.read(texts).inputs
    weights = attention.words(inputs)
    # The softmax over the positions of the tanh of a dense layer, by NumPy.
    model = network()
    sequence = keras.Model(model.input["words"], model.get_layer("text_rnn").output)(inputs).numpy()
    kernel, bias = model.get_layer("text_attention").get_weights()
    exponential = np.exp(np.tanh(sequence @ kernel + bias))
    expected = (exponential / exponential.sum(axis=1, keepdims=True)).mean(axis=-1)
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
    # They make the feature that the rest of the network reads: Σ_t h·softmax_t.
    per_channel = exponential / exponential.sum(axis=1, keepdims=True)
    (feature,) = grounder.encode_words(inputs)
    np.testing.assert_allclose(feature, (sequence * per_channel).sum(axis=1), rtol=1e-3, atol=1e-5)

    predictor = Predictor(grounder, reader)
    predictor.set_image(np.zeros((20, 30, 3), np.uint8))
    for prediction, row in zip(predictor.predict(texts), weights, strict=True):
        read = prediction.expression.split()[: config.word_len]
        assert [word for word, _ in prediction.word_weights] == read
        found = [weight for _, weight in prediction.word_weights]
        np.testing.assert_allclose(found, row[: len(read)], rtol=1e-5)
        record = to_record("a.jpg", prediction)["word_weights"]
        assert record == [[word, round(weight, 4)] for word, weight in prediction.word_weights]


def test_networks_without_attention_over_words_have_no_weights(network, tiny_set):
    model = network(lang_att=0)
    assert AttentionReader(model).words(np.zeros((1, 4, 8), np.float32)) is None
    predictor = Predictor(Grounder(model, ANCHORS), ExpressionReader(tiny_set.config()))
    predictor.set_image(np.zeros((20, 30, 3), np.uint8))
    (prediction,) = predictor.predict("red box")
    assert prediction.word_weights is None
    assert to_record("a.jpg", prediction)["word_weights"] is None
