"""jit_compile = 1: XLA computes the same as the plain graph."""

import numpy as np
import pytest
import tensorflow as tf

from model.mcn import build_mcn
from tests.tiny import ANCHORS, network_config, scramble
from utils.prediction.grounder import Grounder
from utils.training.optimizer import build_optimizer
from utils.training.train_step import make_train_step

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_grounding(cell):
    config = network_config(rnn_cell=cell)
    model = scramble(build_mcn(config))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, config.input_size, config.input_size, 3), np.uint8)
    words = rng.normal(size=(3, config.word_len, config.embed_dim)).astype(np.float32)
    results = []
    for jit_compile in (False, True):
        grounder = Grounder(model, ANCHORS, jit_compile)
        features = grounder.encode_images(images)
        results.append(grounder.locate(features, [0, 1, 1], grounder.encode_words(words)))
    for plain, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-4)


def test_a_training_step():
    losses = []
    for jit_compile in (False, True):
        config = network_config(rnn_cell="gru", rnn_drop_out=0.0)
        model = build_mcn(config)
        optimizer = build_optimizer(1e-3)
        optimizer.build(model.trainable_variables)
        rng = np.random.default_rng(1)
        side, cells = config.input_size, config.input_size // 8
        batch = {
            "image": tf.constant(rng.integers(0, 256, (2, side, side, 3), np.uint8)),
            "words": tf.constant(rng.normal(size=(2, config.word_len, 8)).astype(np.float32)),
            "box_xyxy_px": tf.constant([[10.0, 12.0, 40.0, 50.0], [30.0, 20.0, 80.0, 90.0]]),
            "mask": tf.constant(rng.integers(0, 2, (2, cells, cells, 1), np.uint8)),
        }
        strategy = tf.distribute.get_strategy()
        step = make_train_step(
            strategy, model, optimizer, ANCHORS, mask_weight=0.1, jit_compile=jit_compile
        )
        losses.append([float(step(batch)["loss"]) for _ in range(3)])
    assert losses[0][2] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-2)
