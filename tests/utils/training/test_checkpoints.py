"""A run stopped and resumed is the run never stopped; files that do not fit are refused."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.training.checkpoints import CheckpointError, Checkpoints


def small_network(units=8, seed=0):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((6,), name="x")
    x = keras.layers.Dense(units, name="first")(x)
    x = keras.layers.BatchNormalization(name="first_bn")(x)
    x = keras.layers.Dropout(0.4, name="drop")(x)
    model = keras.Model(image, keras.layers.Dense(1, name="last", dtype="float32")(x))
    return model, keras.optimizers.Adam(1e-2)


def train(model, optimizer, steps):
    """Steps number `steps` on batches that follow from their number."""

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


def test_resumed_training_is_bit_identical(tmp_path):
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    train(model, optimizer, range(5))
    checkpoints.save_last({"epoch": 1, "best_det_acc": 0.25})
    train(model, optimizer, range(5, 10))

    fresh, fresh_optimizer = small_network(seed=99)
    resumed = Checkpoints(tmp_path, fresh, fresh_optimizer)
    assert resumed.restore_last() == {"epoch": 1, "best_det_acc": 0.25}
    train(fresh, fresh_optimizer, range(5, 10))

    for expected, found in zip(
        values(model, optimizer), values(fresh, fresh_optimizer), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_loss_scale_of_mixed_precision_is_part_of_the_state(tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        (model, inner), (fresh, fresh_inner) = small_network(), small_network(seed=1)
    finally:
        keras.config.set_dtype_policy(before)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)
    Checkpoints(tmp_path, model, optimizer).save_last({})
    fresh_optimizer = keras.optimizers.LossScaleOptimizer(fresh_inner)
    Checkpoints(tmp_path, fresh, fresh_optimizer).restore_last()
    assert float(fresh_optimizer.dynamic_scale) == 4.0
    with pytest.raises(CheckpointError, match="optimizer has"):
        Checkpoints(tmp_path, *small_network()).restore_last()


def test_dropout_seeds_are_part_of_the_state(tmp_path):
    model, optimizer = small_network()
    Checkpoints(tmp_path, model, optimizer).save_last({})
    with h5py.File(tmp_path / "last.state.h5") as file:
        paths = [dataset.attrs["path"] for dataset in file["model"].values()]
    assert any("seed_generator" in path for path in paths)


def test_replicas_restore_alike(tmp_path):
    model, optimizer = small_network()
    train(model, optimizer, range(2))
    Checkpoints(tmp_path, model, optimizer).save_last({"epoch": 0})
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored, mirrored_optimizer = small_network(seed=5)
        checkpoints = Checkpoints(tmp_path, mirrored, mirrored_optimizer)
        checkpoints.restore_last()
        checkpoints.save_last({"epoch": 0})
    for expected, found in zip(
        values(model, optimizer), values(mirrored, mirrored_optimizer), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_no_file_means_a_fresh_run(tmp_path):
    assert Checkpoints(tmp_path / "none", *small_network()).restore_last() is None
    assert not (tmp_path / "none").exists()


def test_a_crash_while_saving_leaves_the_previous_state(tmp_path):
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    checkpoints.save_last({"epoch": 0})
    with pytest.raises(TypeError):
        checkpoints.save_last({"epoch": {1, 2}})
    assert checkpoints.restore_last() == {"epoch": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["last.state.h5"]


def test_only_the_writer_writes(tmp_path):
    checkpoints = Checkpoints(tmp_path, *small_network(), writer=False)
    progress = {}
    checkpoints.save_last(progress)
    assert checkpoints.save_best(0.5, 0, progress)
    assert progress["best_det_acc"] == 0.5
    assert list(tmp_path.iterdir()) == []


def test_state_of_a_wider_network_is_refused(tmp_path):
    Checkpoints(tmp_path, *small_network(units=9)).save_last({})
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    before = values(model, optimizer)
    with pytest.raises(CheckpointError, match=r"first/kernel 6×9 .* first/kernel 6×8.*log_path"):
        checkpoints.restore_last()
    for expected, found in zip(before, values(model, optimizer), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_state_with_other_frozen_layers_is_refused(tmp_path):
    model, optimizer = small_network()
    model.get_layer("last").trainable = False
    Checkpoints(tmp_path, model, optimizer).save_last({})
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
        file.attrs["progress"] = '{"epoch": '


@pytest.mark.parametrize(
    "damage", [cut, overwrite, flip_a_weight, drop_the_optimizer, break_the_record]
)
def test_damaged_states_are_refused_whole(tmp_path, damage):
    model, optimizer = small_network()
    train(model, optimizer, range(1))
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    checkpoints.save_last({"epoch": 0})
    train(model, optimizer, range(1, 2))
    before = values(model, optimizer)
    damage(checkpoints.last_path)
    with pytest.raises(CheckpointError, match=r"last\.state\.h5: damaged"):
        checkpoints.restore_last()
    for expected, found in zip(before, values(model, optimizer), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_are_no_state(tmp_path):
    model, optimizer = small_network()
    model.save_weights(tmp_path / "w.weights.h5")
    (tmp_path / "w.weights.h5").rename(tmp_path / "last.state.h5")
    with pytest.raises(CheckpointError, match="not a training state"):
        Checkpoints(tmp_path, model, optimizer).restore_last()


def test_best_weights_are_kept_over_a_resume(tmp_path):
    model, optimizer = small_network()
    checkpoints, progress = Checkpoints(tmp_path, model, optimizer), {"epoch": 0}
    assert checkpoints.save_best(0.0, 0, progress)
    assert checkpoints.save_best(0.5, 1, progress)
    assert progress == {"epoch": 0, "best_det_acc": 0.5, "best_epoch": 1}
    best = model.get_layer("last").kernel.numpy()
    checkpoints.save_last(progress)

    train(model, optimizer, range(3))
    resumed = Checkpoints(tmp_path, model, optimizer)
    progress = resumed.restore_last()
    train(model, optimizer, range(3))
    assert not resumed.save_best(0.5, 2, progress)
    assert not resumed.save_best(float("nan"), 3, progress)
    assert progress["best_epoch"] == 1

    other, _ = small_network(seed=7)
    other.load_weights(resumed.best_path)
    np.testing.assert_array_equal(other.get_layer("last").kernel.numpy(), best)
    assert resumed.save_best(0.51, 4, progress)
    assert progress["best_det_acc"] == 0.51
    assert progress["best_epoch"] == 4
