"""Layers that compute on two replicas, with one and with two samples, what they compute on one."""

import subprocess
import sys

import numpy as np
import pytest

from config.schema import PROJECT_ROOT

# In a process of its own, since a CPU can only be divided before it is used.
PROGRAM = """
import sys
import keras, numpy as np, tensorflow as tf
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from model.layers.batch_norm import BatchNorm
from model.layers.dropout import Dropout
from model.layers.recurrence import GRU

rng = np.random.default_rng(0)
maps = rng.normal(40.0, 2.0, size=(3, 5, 4, 6)).astype(np.float32)
words = rng.normal(size=(3, 4, 6)).astype(np.float32)
inputs = {
    "trained": maps, "frozen": maps, "vectors": maps[:, 0, 0], "gru": words, "dropout": words
}
parts = slice(0, 1), slice(1, 3)

def build():
    layers = {
        "trained": BatchNorm(momentum=0.5),
        "frozen": BatchNorm(frozen_statistics="batch"),
        "vectors": BatchNorm(momentum=0.5),
        "gru": GRU(5, dropout=0.5, seed=3, kernel_initializer="ones"),
        "dropout": Dropout(0.5, seed=4),
    }
    for name, layer in layers.items():
        layer.build(inputs[name].shape)
    layers["frozen"].trainable = False
    return layers

def outputs_and_gradients(layers, inputs):
    results = {}
    for name, layer in layers.items():
        x = tf.convert_to_tensor(inputs[name])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(tf.sin(y) * tf.range(1.0, 1.0 + y.shape[-1]))
        results[name] = y
        results[f"{name} gradient"] = tape.gradient(loss, x)
    return results

keras.utils.set_random_seed(0)
layers = build()
one = {k: v.numpy() for k, v in outputs_and_gradients(layers, inputs).items()}
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    keras.utils.set_random_seed(0)
    replicated = build()
divided = strategy.experimental_distribute_values_from_function(
    lambda context: {
        k: tf.constant(v[parts[context.replica_id_in_sync_group]]) for k, v in inputs.items()
    }
)
run = tf.function(
    lambda x: strategy.run(lambda x: outputs_and_gradients(replicated, x), args=(x,))
)
two = {
    k: np.concatenate([part.numpy() for part in strategy.experimental_local_results(v)])
    for k, v in run(divided).items()
}
for results, built in (one, layers), (two, replicated):
    for name, layer in built.items():
        for variable in layer.variables:
            results[f"{name} {variable.name}"] = variable.numpy()
np.savez(sys.argv[1], **one)
np.savez(sys.argv[2], **two)
"""


@pytest.mark.slow
def test_statistics_dropout_and_gradients_of_parts_are_those_of_the_batch(tmp_path):
    paths = tmp_path / "one.npz", tmp_path / "two.npz"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *paths],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = map(np.load, paths)
    assert set(two) == set(one)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-5, atol=2e-5, err_msg=name)
    assert (one["dropout"] == 0).any()
    assert len(np.unique(one["trained moving_variance"])) == 6
    np.testing.assert_array_equal(one["frozen moving_variance"], 1.0)
