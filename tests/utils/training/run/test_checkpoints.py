"""A resumed run equals one that was never stopped; files that do not fit are refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from config.errors import NoSpaceError
from config.hdf5_file import CHECKSUM, written_hdf5
from model.mcn import build_mcn
from model.weights import load_weights
from tests.tiny import network_config, scramble, weights_of
from utils.training.run.checkpoints import BEST, CheckpointError, Checkpoints, read_run_state
from utils.training.run.state import Best, RunState

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


def save_updated(checkpoints, state):
    """Saves as after an update of the network."""
    checkpoints.optimizer.iterations.assign_add(1)
    checkpoints.save(state)


def assert_equal(arrays, expected):
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_the_previous_state_is_from_before_the_last_update(tmp_path):
    """Every step after an update that spoils the network is skipped; its weights may be finite."""
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    last, previous = tmp_path / "last.state.h5", tmp_path / "previous.state.h5"
    train(model, optimizer, range(1))
    checkpoints.save(RunState(1, step=1))
    good = last.read_bytes()
    train(model, optimizer, range(1))
    checkpoints.save(RunState(1, step=2))
    for step in (3, 4):  # Skipped, or a validation.
        checkpoints.save(RunState(1, step=step, skipped=step - 2))
        assert previous.read_bytes() == good
    checkpoints = Checkpoints(tmp_path, model, optimizer)  # Also across a resumption.
    checkpoints.restore()
    checkpoints.save(RunState(1, step=5, skipped=3))
    assert previous.read_bytes() == good
    newer = last.read_bytes()
    train(model, optimizer, range(1))  # The network has recovered.
    checkpoints.save(RunState(1, step=6, skipped=3))
    assert previous.read_bytes() == newer


def test_an_overflow_of_half_precision_is_no_update(tmp_path):
    model, inner = small_network()
    optimizer = keras.optimizers.LossScaleOptimizer(inner)
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    train(model, optimizer, range(1))
    checkpoints.save(RunState(1, step=1))
    train(model, optimizer, range(1))
    checkpoints.save(RunState(1, step=2))
    kept = (tmp_path / "previous.state.h5").read_bytes()
    infinite = [np.full(v.shape, np.inf, np.float32) for v in model.trainable_variables]
    optimizer.apply_gradients(zip(infinite, model.trainable_variables, strict=True))
    checkpoints.save(RunState(1, step=3))
    assert (tmp_path / "previous.state.h5").read_bytes() == kept


def test_resumed_training_is_bit_identical(tmp_path):
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    train(model, optimizer, range(5))
    checkpoints.save(RunState(1, bests={BEST: Best(0.25, 1)}))
    train(model, optimizer, range(5, 10))

    fresh, fresh_optimizer = small_network(seed=99)
    resumed = Checkpoints(tmp_path, fresh, fresh_optimizer)
    assert resumed.restore() == RunState(1, bests={BEST: Best(0.25, 1)})
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
    Checkpoints(tmp_path, model, optimizer).save(RunState())
    fresh_optimizer = keras.optimizers.LossScaleOptimizer(fresh_inner)
    Checkpoints(tmp_path, fresh, fresh_optimizer).restore()
    assert float(fresh_optimizer.dynamic_scale) == 4.0
    with pytest.raises(CheckpointError, match="optimizer has"):
        Checkpoints(tmp_path, *small_network()).restore()


def test_dropout_seeds_are_part_of_the_state(tmp_path):
    model, optimizer = small_network()
    Checkpoints(tmp_path, model, optimizer).save(RunState())
    with h5py.File(tmp_path / "last.state.h5") as file:
        paths = [dataset.attrs["path"] for dataset in file["model"].values()]
    assert any("seed_generator" in path for path in paths)


def test_replicas_restore_alike(tmp_path):
    model, optimizer = small_network()
    train(model, optimizer, range(2))
    Checkpoints(tmp_path, model, optimizer).save(RunState())
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored, mirrored_optimizer = small_network(seed=5)
        checkpoints = Checkpoints(tmp_path, mirrored, mirrored_optimizer)
        checkpoints.restore()
        checkpoints.save(RunState())
    assert_equal(values(mirrored, mirrored_optimizer), values(model, optimizer))


def test_no_file_means_a_fresh_run(tmp_path):
    assert Checkpoints(tmp_path / "none", *small_network()).restore() is None
    assert not (tmp_path / "none").exists()


def test_a_crash_while_saving_leaves_the_previous_state(tmp_path):
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    checkpoints.save(RunState())
    with pytest.raises(TypeError):
        checkpoints.save(RunState({1, 2}))
    assert checkpoints.restore() == RunState()
    assert [path.name for path in tmp_path.iterdir()] == ["last.state.h5"]


def test_a_history_of_any_length_is_saved(tmp_path):
    history = [{"epoch": epoch, "text": "x" * 1000} for epoch in range(200)]
    checkpoints = Checkpoints(tmp_path, *small_network())
    checkpoints.save(RunState(history=history))
    assert checkpoints.restore().history == history
    assert read_run_state(tmp_path).history == history


def saved_twice(folder):
    """A folder whose last state is epoch 2 and whose previous one is epoch 1."""
    model, optimizer = small_network()
    checkpoints = Checkpoints(folder, model, optimizer)
    kept = []
    for epoch in (1, 2):
        train(model, optimizer, range(epoch))
        checkpoints.save(RunState(epoch))
        kept.append(values(model, optimizer))
    return checkpoints, kept


def test_two_generations_are_kept(tmp_path):
    checkpoints, (first, second) = saved_twice(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["last.state.h5", "previous.state.h5"]
    assert checkpoints.restore().epoch == 2
    assert_equal(values(checkpoints.model, checkpoints.optimizer), second)
    checkpoints.last_path.unlink()
    with pytest.warns(UserWarning, match=r"last\.state\.h5: is missing; previous\.state\.h5"):
        assert checkpoints.restore().epoch == 1
    assert_equal(values(checkpoints.model, checkpoints.optimizer), first)


def test_file_systems_without_hard_links_keep_two_generations(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    saved_twice(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["last.state.h5", "previous.state.h5"]


# Loads TensorFlow once, and saves in forks, which are killed one call later each time.
KILLED_WHILE_SAVING = """
import itertools, os, shutil, sys
import keras
from pathlib import Path
from utils.training.run.checkpoints import Checkpoints
from utils.training.run.state import RunState

x = keras.Input((6,))
model = keras.Model(x, keras.layers.Dense(1)(x))
optimizer, saved = keras.optimizers.Adam(), Path(sys.argv[1], "saved")
checkpoints = Checkpoints(saved, model, optimizer)
for epoch in (2, 3):
    optimizer.iterations.assign_add(1)
    checkpoints.save(RunState(epoch))
calls = 0

def counting(function):
    def call(*arguments, **keywords):
        global calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), 9)
        return function(*arguments, **keywords)
    return call

for moment in itertools.count(1):
    folder = Path(sys.argv[1], str(moment))
    shutil.copytree(saved, folder)
    checkpoints = Checkpoints(folder, model, optimizer)
    optimizer.iterations.assign_add(1)
    process = os.fork()
    if not process:
        os.fsync, os.link, Path.replace = map(counting, (os.fsync, os.link, Path.replace))
        checkpoints.save(RunState(4))
        os._exit(0)
    status = os.waitpid(process, 0)[1]
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9, status
    print(moment)
"""


def test_a_kill_at_any_moment_of_a_save_leaves_two_states(tmp_path):
    """At each call that changes the disk, until a run survives."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[4], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    killed = done.stdout.split()
    for moment in killed:
        folder = tmp_path / moment
        x = keras.Input((6,))
        model = keras.Model(x, keras.layers.Dense(1)(x))
        checkpoints = Checkpoints(folder, model, keras.optimizers.Adam())
        epoch = checkpoints.restore().epoch
        assert epoch in (3, 4)
        (folder / "last.state.h5").unlink()
        with pytest.warns(UserWarning, match="is missing"):
            assert checkpoints.restore().epoch in (epoch, epoch - 1)
        save_updated(checkpoints, RunState(6))
        save_updated(checkpoints, RunState(7))
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["last.state.h5", "previous.state.h5"]
    assert len(killed) == 6  # Two flushes, three renames and a link.


def test_a_full_disk_keeps_the_earlier_states(small_disk):
    folder = small_disk(200_000)
    model, optimizer = small_network(units=500)
    checkpoints = Checkpoints(folder, model, optimizer)
    checkpoints.save(RunState(1))
    (folder / "others").write_bytes(bytes(90_000))
    before = checkpoints.last_path.read_bytes()
    with pytest.raises(NoSpaceError, match=r"state\.h5: needs .* and the disk is full"):
        checkpoints.save(RunState(2))
    assert checkpoints.last_path.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["last.state.h5", "others"]
    (folder / "others").unlink()
    checkpoints.save(RunState(2))
    assert checkpoints.restore().epoch == 2


@pytest.mark.parametrize("what", ["weight", "optimizer"])
def test_what_is_not_finite_is_never_saved(tmp_path, what):
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    train(model, optimizer, range(1))
    checkpoints.save(RunState(1))
    variable = model.get_layer("last").kernel if what == "weight" else optimizer.variables[-1]
    variable.assign(np.full(variable.shape, np.inf))
    name = re.escape(variable.path)
    with pytest.raises(CheckpointError, match=f"{name} is not finite; nothing was saved"):
        checkpoints.save(RunState(2))
    if what == "weight":
        with pytest.raises(CheckpointError, match=f"{name} is not finite"):
            checkpoints.save_best()
    assert checkpoints.restore().epoch == 1
    assert not checkpoints.best_path.exists()


def test_only_the_writer_writes(tmp_path):
    checkpoints = Checkpoints(tmp_path, *small_network(), writer=False)
    checkpoints.save(RunState())
    checkpoints.save_best()
    assert list(tmp_path.iterdir()) == []


def test_state_of_a_wider_network_is_refused(tmp_path):
    Checkpoints(tmp_path, *small_network(units=9)).save(RunState())
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    before = values(model, optimizer)
    with pytest.raises(CheckpointError, match=r"first/kernel 6×9 .* first/kernel 6×8.*log_path"):
        checkpoints.restore()
    assert_equal(values(model, optimizer), before)


def test_state_with_other_frozen_layers_is_refused(tmp_path):
    model, optimizer = small_network()
    model.get_layer("last").trainable = False
    Checkpoints(tmp_path, model, optimizer).save(RunState())
    with pytest.raises(CheckpointError, match=r"optimizer has nothing where this one has .*last"):
        Checkpoints(tmp_path, *small_network()).restore()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    path.write_bytes(b"no HDF5 at all")


def flip_a_weight(path):
    with h5py.File(path, "r+") as file:
        file["optimizer/00002"][0, 0] += 1


def rename_a_variable(path):
    with h5py.File(path, "r+") as file:
        file["model/00000"].attrs["path"] = "first/kernel2"


def drop_the_optimizer(path):
    with h5py.File(path, "r+") as file:
        del file["optimizer"]


def change_the_record(path):
    with h5py.File(path, "r+") as file:
        record = file["run_state"][()].tobytes().replace(b'"epoch": 2', b'"epoch": 9')
        file["run_state"][...] = np.frombuffer(record, np.uint8)


def drop_the_checksum(path):
    with h5py.File(path, "r+") as file:
        del file.attrs[CHECKSUM]


DAMAGES = (
    cut, overwrite, flip_a_weight, rename_a_variable, drop_the_optimizer, change_the_record,
    drop_the_checksum,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_recognized_and_the_one_before_used(tmp_path, damage):
    checkpoints, (first, _) = saved_twice(tmp_path)
    damage(checkpoints.last_path)
    with pytest.warns(UserWarning, match=r"last\.state\.h5: .*; previous\.state\.h5 is used"):
        assert checkpoints.restore().epoch == 1
    assert_equal(values(checkpoints.model, checkpoints.optimizer), first)
    assert read_run_state(tmp_path).epoch == 1


def test_a_damaged_state_never_replaces_the_one_before(tmp_path):
    checkpoints, _ = saved_twice(tmp_path)
    cut(checkpoints.last_path)
    with pytest.warns(UserWarning, match="is used"):
        checkpoints.restore()
    checkpoints.save(RunState(3))
    cut(checkpoints.last_path)
    assert read_run_state(tmp_path).epoch == 1
    with pytest.warns(UserWarning, match="is used"):
        checkpoints.restore()
    save_updated(checkpoints, RunState(4))
    save_updated(checkpoints, RunState(5))
    checkpoints.last_path.unlink()
    assert read_run_state(tmp_path).epoch == 4


def test_damaged_states_are_refused_whole(tmp_path):
    checkpoints, (_, second) = saved_twice(tmp_path)
    flip_a_weight(checkpoints.last_path)
    cut(checkpoints.previous_path)
    with pytest.raises(CheckpointError, match=r"last\.state\.h5: .*previous\.state\.h5: .*--overw"):
        checkpoints.restore()
    assert_equal(values(checkpoints.model, checkpoints.optimizer), second)
    assert read_run_state(tmp_path) is None


def test_flipped_bits_are_recognized(tmp_path):
    """Each bit matters to what is restored, or the file is refused."""
    checkpoints, (_, second) = saved_twice(tmp_path)
    path, rng = checkpoints.last_path, np.random.default_rng(0)
    checkpoints.previous_path.unlink()
    intact, refused = path.read_bytes(), 0
    for _ in range(150):
        content = bytearray(intact)
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            assert checkpoints.restore().epoch == 2
        except CheckpointError:
            refused += 1
        assert_equal(values(checkpoints.model, checkpoints.optimizer), second)
    assert refused > 0


def test_a_weight_file_is_not_a_state(tmp_path):
    model, optimizer = small_network()
    model.save_weights(tmp_path / "w.weights.h5")
    (tmp_path / "w.weights.h5").rename(tmp_path / "last.state.h5")
    with pytest.raises(CheckpointError, match="not a training state"):
        Checkpoints(tmp_path, model, optimizer).restore()


def test_a_state_of_another_format_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, *small_network())
    checkpoints.save(RunState())
    with written_hdf5(checkpoints.last_path) as file:
        file.attrs["format"] = 1
    with pytest.raises(CheckpointError, match="not a training state that this version"):
        checkpoints.restore()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (None, None),
        (cut, "truncated"),
        (drop_the_checksum, "no checksum"),
        (Path.unlink, "missing"),
    ],
)
def test_a_damaged_best_file_is_recognized(tmp_path, damage, fault):
    checkpoints = Checkpoints(tmp_path, build_mcn(network_config()), keras.optimizers.Adam())
    checkpoints.save_best()
    if damage is not None:
        damage(checkpoints.best_path)
    found = checkpoints.fault_of_best()
    assert found is None if fault is None else fault in found


def test_a_best_file_of_another_run_is_recognized(tmp_path):
    model = build_mcn(network_config())
    ours, theirs = (
        Checkpoints(tmp_path / name, model, keras.optimizers.Adam()) for name in ("ours", "theirs")
    )
    expected = ours.save_best()
    assert ours.fault_of_best(expected) is None
    scramble(model)
    assert theirs.save_best() != expected
    theirs.best_path.replace(ours.best_path)
    assert "not the file" in ours.fault_of_best(expected)
    assert ours.fault_of_best() is None  # Earlier states do not say what to expect.


def test_a_file_of_others_in_the_place_of_a_state_stays_and_the_one_before_is_named(tmp_path):
    model, optimizer = small_network()
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    for epoch in (1, 2):
        save_updated(checkpoints, RunState(epoch))
    with written_hdf5(checkpoints.last_path) as file:
        file["mine"] = 1
    for read in (checkpoints.restore, lambda: read_run_state(tmp_path)):
        with pytest.raises(CheckpointError, match=r"move it away to resume from previous\.state"):
            read()
    checkpoints.last_path.rename(tmp_path / "mine.h5")
    with pytest.warns(UserWarning, match="is missing"):
        assert checkpoints.restore().epoch == 1


def test_best_weights_are_those_at_the_call(tmp_path):
    model, other = build_mcn(network_config()), build_mcn(network_config(seed=1))
    checkpoints = Checkpoints(tmp_path, model, keras.optimizers.Adam())
    checkpoints.save_best()
    best = weights_of(model)
    scramble(model)
    checkpoints.save(RunState(2, bests={BEST: Best(0.5, 1)}))
    for expected in (best, weights_of(model)):
        load_weights(other, checkpoints.best_path)
        for path, value in weights_of(other).items():
            np.testing.assert_array_equal(value, expected[path])
        checkpoints.save_best()
    assert Checkpoints(tmp_path, model, keras.optimizers.Adam()).restore().best_epoch == 1
