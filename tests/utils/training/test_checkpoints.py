"""A resumed run equals one that was never stopped; files that do not fit are refused."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from model.mcn import build_mcn
from model.weights import load_weights
from tests.tiny import network_config, scramble, weights_of
from utils.training.checkpoints import CheckpointError, Checkpoints
from utils.training.run_state import RunState

pytestmark = pytest.mark.slow


def small_network(units=8, seed=0):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((6,), name="x")
    x = keras.layers.Dense(units, name="first")(x)
    x = keras.layers.BatchNormalization(name="first_bn")(x)
    x = keras.layers.Dropout(0.4, name="drop")(x)
    model = keras.Model(image, keras.layers.Dense(1, name="last", dtype="float32")(x))
    return model, keras.optimizers.Adam(1e-2)


def train(model, optimizer, steps):
    """Runs the steps of these numbers, each on a batch that its number determines."""

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    for number in steps:
        rng = np.random.default_rng(number)
        x = rng.normal(size=(16, 6)).astype(np.float32)
        step(tf.constant(x), tf.constant(x[:, :1] * 2))


def values(model, optimizer):
    return [v.numpy() for v in [*model.variables, *optimizer.variables]]


def assert_equal(arrays, expected):
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_resumed_training_is_bit_identical(tmp_path):
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    train(model, optimizer, range(5))
    checkpoints.save_last(RunState(1, 0.25, 1))
    train(model, optimizer, range(5, 10))

    fresh, fresh_optimizer = small_network(seed=99)
    resumed = Checkpoints(tmp_path, fresh, fresh_optimizer)
    assert resumed.restore_last() == RunState(1, 0.25, 1)
    train(fresh, fresh_optimizer, range(5, 10))

    assert_equal(values(fresh, fresh_optimizer), values(model, optimizer))


def test_loss_scale_of_mixed_precision_is_part_of_the_state(tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        (model, inner), (fresh, fresh_inner) = small_network(), small_network(seed=1)
    finally:
        keras.config.set_dtype_policy(before)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)
    Checkpoints(tmp_path, model, optimizer).save_last(RunState())
    fresh_optimizer = keras.optimizers.LossScaleOptimizer(fresh_inner)
    Checkpoints(tmp_path, fresh, fresh_optimizer).restore_last()
    assert float(fresh_optimizer.dynamic_scale) == 4.0
    with pytest.raises(CheckpointError, match="optimizer has"):
        Checkpoints(tmp_path, *small_network()).restore_last()


def test_dropout_seeds_are_part_of_the_state(tmp_path):
    model, optimizer = small_network()
    Checkpoints(tmp_path, model, optimizer).save_last(RunState())
    with h5py.File(tmp_path / "last.state.h5") as file:
        paths = [dataset.attrs["path"] for dataset in file["model"].values()]
    assert any("seed_generator" in path for path in paths)


def test_replicas_restore_alike(tmp_path):
    model, optimizer = small_network()
    train(model, optimizer, range(2))
    Checkpoints(tmp_path, model, optimizer).save_last(RunState())
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored, mirrored_optimizer = small_network(seed=5)
        checkpoints = Checkpoints(tmp_path, mirrored, mirrored_optimizer)
        checkpoints.restore_last()
        checkpoints.save_last(RunState())
    assert_equal(values(mirrored, mirrored_optimizer), values(model, optimizer))


def test_no_file_means_a_fresh_run(tmp_path):
    assert Checkpoints(tmp_path / "none", *small_network()).restore_last() is None
    assert not (tmp_path / "none").exists()


def test_a_crash_while_saving_leaves_the_previous_state(tmp_path):
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    checkpoints.save_last(RunState())
    with pytest.raises(TypeError):
        checkpoints.save_last(RunState({1, 2}))
    assert checkpoints.restore_last() == RunState()
    assert [path.name for path in tmp_path.iterdir()] == ["last.state.h5"]


def test_only_the_writer_writes(tmp_path):
    checkpoints = Checkpoints(tmp_path, *small_network(), writer=False)
    checkpoints.save_last(RunState())
    checkpoints.save_best()
    assert list(tmp_path.iterdir()) == []


def test_state_of_a_wider_network_is_refused(tmp_path):
    Checkpoints(tmp_path, *small_network(units=9)).save_last(RunState())
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    before = values(model, optimizer)
    with pytest.raises(CheckpointError, match=r"first/kernel 6×9 .* first/kernel 6×8.*log_path"):
        checkpoints.restore_last()
    assert_equal(values(model, optimizer), before)


def test_state_with_other_frozen_layers_is_refused(tmp_path):
    model, optimizer = small_network()
    model.get_layer("last").trainable = False
    Checkpoints(tmp_path, model, optimizer).save_last(RunState())
    with pytest.raises(CheckpointError, match=r"optimizer has nothing where this one has .*last"):
        Checkpoints(tmp_path, *small_network()).restore_last()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    path.write_bytes(b"no HDF5 at all")


def flip_a_weight(path):
    with h5py.File(path, "r+") as file:
        file["optimizer/00002"][0, 0] += 1


def drop_the_optimizer(path):
    with h5py.File(path, "r+") as file:
        del file["optimizer"]


def break_the_record(path):
    with h5py.File(path, "r+") as file:
        file.attrs["run_state"] = '{"epoch": '


def rename_in_the_record(path):
    with h5py.File(path, "r+") as file:
        file.attrs["run_state"] = '{"epochs": 1}'


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        overwrite,
        flip_a_weight,
        drop_the_optimizer,
        break_the_record,
        rename_in_the_record,
    ],
)
def test_damaged_states_are_refused_whole(tmp_path, damage):
    model, optimizer = small_network()
    train(model, optimizer, range(1))
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    checkpoints.save_last(RunState())
    train(model, optimizer, range(1, 2))
    before = values(model, optimizer)
    damage(checkpoints.last_path)
    with pytest.raises(CheckpointError, match=r"last\.state\.h5: damaged"):
        checkpoints.restore_last()
    assert_equal(values(model, optimizer), before)


def test_a_weight_file_is_not_a_state(tmp_path):
    model, optimizer = small_network()
    model.save_weights(tmp_path / "w.weights.h5")
    (tmp_path / "w.weights.h5").rename(tmp_path / "last.state.h5")
    with pytest.raises(CheckpointError, match="not a training state"):
        Checkpoints(tmp_path, model, optimizer).restore_last()


def test_a_state_of_another_format_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, *small_network())
    checkpoints.save_last(RunState())
    with h5py.File(checkpoints.last_path, "r+") as file:
        file.attrs["format"] = 1
    with pytest.raises(CheckpointError, match="not a training state that this version"):
        checkpoints.restore_last()


@pytest.mark.slow
def test_best_weights_are_those_at_the_call(tmp_path):
    model, other = build_mcn(network_config()), build_mcn(network_config(seed=1))
    checkpoints = Checkpoints(tmp_path, model, keras.optimizers.Adam())
    checkpoints.save_best()
    best = weights_of(model)
    scramble(model)
    checkpoints.save_last(RunState(2, 0.5, 1))
    for expected in (best, weights_of(model)):
        load_weights(other, checkpoints.best_path)
        for path, value in weights_of(other).items():
            np.testing.assert_array_equal(value, expected[path])
        checkpoints.save_best()
    assert Checkpoints(tmp_path, model, keras.optimizers.Adam()).restore_last().best_epoch == 1
