"""accumulate_steps: the parts of a batch give the gradients of the whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.layers.batch_norm import BatchNorm
from model.mcn import build_mcn
from tests.tiny import ANCHORS, NETWORK, network_config, scramble, weights_of
from utils.training.train_step import make_train_step

pytestmark = pytest.mark.slow

ROWS, SIDE, CELLS = 5, NETWORK["input_size"], NETWORK["input_size"] // 8


def batch_of(rows=ROWS):
    rng = np.random.default_rng(1)
    corners = rng.uniform(2, 40, (rows, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 50, (rows, 2))], axis=1)
    shape = (rows, NETWORK["word_len"], NETWORK["embed_dim"])
    return {
        "image": tf.constant(rng.integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8)),
        "words": tf.constant(rng.normal(size=shape).astype(np.float32)),
        "box_xyxy_px": tf.constant(boxes.astype(np.float32)),
        "mask": tf.constant(rng.integers(0, 2, (rows, CELLS, CELLS, 1)).astype(np.float32)),
    }


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Steps run once, operation by operation: compiling them would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def compiled():
    """Steps are compiled, as in a training."""
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


@pytest.fixture(scope="module")
def network():
    """A network without dropout, whose BatchNorm layers are frozen, and its weights."""
    model = scramble(build_mcn(network_config(rnn_cell="gru", rnn_drop_out=0.0)))
    for layer in model.layers:
        layer.trainable = not isinstance(layer, BatchNorm)
    return model, weights_of(model)


def stepped(network, accumulate_steps, clip_norm=None):
    """The results of one step of gradient descent, and the change of each weight over the rate."""
    model, weights = network
    for variable in model.weights:
        variable.assign(weights[variable.path])
    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=clip_norm)
    optimizer.build(model.trainable_variables)
    step = make_train_step(
        tf.distribute.get_strategy(), model, optimizer, ANCHORS, mask_weight=0.1,
        accumulate_steps=accumulate_steps,
    )  # fmt: skip
    result = {name: float(value) for name, value in step(batch_of()).items()}
    return result, {v.path: np.array(v) - weights[v.path] for v in model.trainable_variables}


@pytest.fixture(scope="module")
def whole(network):
    return stepped(network, 1)


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_give_losses_and_gradients_of_the_whole_batch(network, whole, parts):
    """Five rows in two and three, and one by one: a mean of the parts' means would differ."""
    result, changes = stepped(network, parts)
    expected, whole_changes = whole
    assert set(result) == set(expected)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=2e-5), name
    assert (result["samples"], result["updated"]) == (ROWS, 1)
    largest = max(np.abs(change).max() for change in whole_changes.values())
    for path, change in whole_changes.items():
        # Sums in another order: float32 has 6e-8, relative to the largest terms of a sum.
        scale = max(np.abs(change).max(), 1e-3 * largest)
        np.testing.assert_allclose(changes[path], change, atol=1e-4 * scale, err_msg=path)


def test_gradients_are_summed_before_they_are_clipped(network, whole):
    result, changes = stepped(network, 2, clip_norm=0.5)
    assert result["gradient_norm"] == pytest.approx(whole[0]["gradient_norm"], rel=1e-4)
    assert result["gradient_norm"] > 1
    norm = np.sqrt(sum(np.sum(np.square(change)) for change in changes.values()))
    assert norm == pytest.approx(0.5, rel=1e-2)


def three_layers():
    """A network with the inputs and outputs of `build_mcn` that compiles within a second."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    words = keras.Input((NETWORK["word_len"], NETWORK["embed_dim"]), name="words")
    text = keras.layers.Flatten()(words)
    outputs = {
        "boxes": keras.layers.Conv2D(15, 32, strides=32)(image),
        "mask": keras.layers.Conv2D(1, 8, strides=8)(image),
        "co_energy": keras.layers.Dense(1, "sigmoid", kernel_regularizer="l2")(text),
    }
    return scramble(keras.Model({"image": image, "words": words}, outputs))


def test_compiled_parts_give_the_gradients_of_the_whole_batch_of_any_size(compiled):
    model, found = three_layers(), {}
    weights = weights_of(model)
    spec = {
        name: tf.TensorSpec((None, *value.shape[1:]), value.dtype)
        for name, value in batch_of().items()
    }
    for parts in (1, 2, 3):
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.build(model.trainable_variables)
        step = make_train_step(
            tf.distribute.get_strategy(), model, optimizer, ANCHORS, mask_weight=0.1,
            batch_spec=spec, accumulate_steps=parts,
        )  # fmt: skip
        for rows in (ROWS, 4):  # Such as a smaller last batch.
            for variable in model.weights:
                variable.assign(weights[variable.path])
            result = {name: float(value) for name, value in step(batch_of(rows)).items()}
            found[parts, rows] = result, weights_of(model)
        assert step.experimental_get_tracing_count() == 1
    for (_, rows), (result, after) in found.items():
        expected, whole_after = found[1, rows]
        assert result == pytest.approx(expected, rel=1e-5)
        assert result["samples"] == rows
        for path, value in whole_after.items():
            assert np.abs(value - weights[path]).max() > 1e-3, path
            np.testing.assert_allclose(after[path], value, rtol=1e-4, atol=1e-4, err_msg=path)
