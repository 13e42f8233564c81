"""The three parts of a network agree with the whole network, and weights are loaded."""

import numpy as np
import pytest
import tensorflow as tf

from model.decode import best_box, round_box
from model.mcn import build_mcn
from model.weights import save_weights
from tests.tiny import ANCHORS, network_config, outputs_of, random_batch, scramble
from utils.prediction.engines import tensorflow_engine
from utils.prediction.grounder import Grounder, NotFiniteError, load_grounder

SIDE = 96


def pixels(n=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


def ground(grounder, images, words, rows):
    features = grounder.encode_images(images)
    return grounder.locate(features, rows, grounder.encode_words(words))


def whole(model, images, words):
    """Box, rounded box, score and mask probability of pairs, computed by the whole network."""
    outputs = outputs_of(model, {"image": images.astype(np.float32) / 255, "words": words})
    boxes, scores = best_box(outputs["boxes"], ANCHORS, SIDE)
    probability = 1 / (1 + np.exp(-outputs["mask"][..., 0]))
    return np.array(boxes), np.array(round_box(boxes, SIDE)), np.array(scores), probability


def test_parts_agree_with_the_whole_network(network, grounder):
    images, words = pixels(), random_batch(network_config(), n=5)["words"]
    rows = [0, 2, 2, 1, 0]
    result = ground(grounder, images, words, rows)
    boxes, rounded, scores, probability = whole(network(), images[rows], words)
    np.testing.assert_allclose(result[0], boxes, atol=1e-3)
    np.testing.assert_array_equal(result[1], rounded)
    np.testing.assert_allclose(result[2], scores, atol=1e-5)
    np.testing.assert_allclose(result[3], probability, atol=1e-5)
    assert [part.dtype for part in result] == [np.float32, np.int32, np.float32, np.float32]


def test_one_pair(grounder):
    words = random_batch(network_config(), n=1)["words"]
    result = ground(grounder, pixels(1), words, [0])
    assert [part.shape for part in result] == [(1, 4), (1, 4), (1,), (1, 12, 12)]


def test_weight_updates_are_seen():
    model = build_mcn(network_config())
    grounder = Grounder(model, ANCHORS)
    words = random_batch(network_config(), n=1)["words"]
    before = ground(grounder, pixels(1), words, [0])
    scramble(model, seed=3)
    after = ground(grounder, pixels(1), words, [0])
    assert np.abs(before[3] - after[3]).max() > 1e-3
    np.testing.assert_allclose(after[0], whole(model, pixels(1), words)[0], atol=1e-3)


def overflowing():
    """A network of finite weights whose products are not."""
    model = scramble(build_mcn(network_config()))
    for weight in model.weights:
        if "kernel" in weight.path:
            weight.assign(np.asarray(weight) * 1e30)
    return model


def test_values_that_are_no_numbers_are_no_result():
    grounder, words = Grounder(overflowing(), ANCHORS), random_batch(network_config(), n=2)["words"]
    with pytest.raises(NotFiniteError, match=r"^the network computes NaN or infinite "):
        ground(grounder, pixels(1), words, [0, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["boxes", "mask"])
def test_one_value_that_is_no_number_names_its_image(monkeypatch, network, part, value):
    """In any place of the outputs, for the last of three expressions."""
    heads = tensorflow_engine.ground(network())

    def broken(inputs, training):
        outputs = heads(inputs, training=training)
        shape = tf.shape(outputs[part])
        place = tf.reshape(tf.one_hot(tf.size(outputs[part]) - 1, tf.size(outputs[part])), shape)
        return outputs | {part: tf.where(place > 0, value, outputs[part])}

    monkeypatch.setattr(tensorflow_engine, "ground", lambda _: broken)
    grounder, words = Grounder(network(), ANCHORS), random_batch(network_config(), n=3)["words"]
    features, text = grounder.encode_images(pixels()), grounder.encode_words(words)
    with pytest.raises(NotFiniteError, match=r"^b\.jpg: the network computes NaN"):
        grounder.locate(features, [2, 0, 1], text, ["a.jpg", "b.jpg", "c.jpg"])


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.weights.h5"
    save_weights(network(), path)
    return path


def test_load_grounder_reads_anchors_and_weights(saved, tiny_set, grounder):
    images, words = pixels(1), random_batch(network_config(), n=1)["words"]
    config = tiny_set.config(evaluate_model=str(saved), precision="mixed_bfloat16")
    loaded = load_grounder(config, precision="float32")
    assert loaded.model.dtype_policy.name == "float32"
    np.testing.assert_array_equal(loaded.anchors_px, ANCHORS)
    assert loaded.input_size == SIDE
    assert loaded.weights_report.missing == []
    assert grounder.weights_report is None
    for mine, other in zip(
        ground(loaded, images, words, [0]), ground(grounder, images, words, [0]), strict=True
    ):
        np.testing.assert_allclose(mine, other, atol=1e-4)


def test_weights_override_those_of_the_config(saved, tiny_set):
    config = tiny_set.config(evaluate_model="nowhere.weights.h5")
    assert load_grounder(config, saved).weights_report.missing == []
    with pytest.raises(FileNotFoundError, match=r"nowhere\.weights\.h5: no such weight file; name"):
        load_grounder(config)
