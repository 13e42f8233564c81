"""What the benchmarks compare with computes the same, and operations are counted right."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.flops import count_flops
from benchmarks.plain import build_plain_mcn, evaluate_plainly
from benchmarks.sets import ANCHORS, full_size, synthetic_set
from benchmarks.timing import alternate
from model.mcn import build_mcn
from tests.tiny import random_batch, scramble
from utils.evaluation.evaluator import Evaluator
from utils.prediction.grounder import Grounder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def networks():
    config = full_size("darknet", quick=True)
    model = scramble(build_mcn(config))
    return config, model, build_plain_mcn(config, model)


def test_the_plain_network_is_the_same_function(networks):
    config, model, plain = networks
    batch = random_batch(config)
    ours, theirs = model(batch, training=False), plain(batch, training=False)
    for name, value in theirs.items():
        scale = float(np.std(value)) or 1.0
        np.testing.assert_allclose(ours[name], value, atol=1e-4 * scale, rtol=1e-4)


def test_the_plain_evaluation_gives_the_same_figures(networks, tmp_path):
    config, model, plain = networks
    data = synthetic_set(tmp_path, images=2, expressions=3, config=config)
    evaluator = Evaluator(data.referents, data.words, data.image_path, data.mask_path, workers=2)
    ours = evaluator.evaluate(Grounder(model, ANCHORS), config.word_len)
    predict = tf.function(lambda image, words: plain({"image": image, "words": words}))
    theirs = evaluate_plainly(
        predict, data.referents, data.words, data.image_path, data.masks, ANCHORS, config
    )
    assert ours["n_expressions"] == theirs["n_expressions"] == 6
    for key in ("det_acc", "seg_iou", "overall_iou", "ie_score"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-5)


def test_flops_of_a_small_network():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(5)(x))
    assert count_flops(model) == 2 * 8 * 8 * 4 * 3 * 3 * 3 + 2 * 4 * 5


def test_repetitions_alternate():
    calls = []
    times = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert all(median >= 0 for median, _ in times.values())
