"""Weights are written completely or not at all: on full disks, and when the process is killed."""

import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from config.errors import NoSpaceError
from model.mcn import build_mcn
from model.weights import load_weights, save_weights
from tests.tiny import network_config, scramble, weights_of
from utils.training.run.checkpoints import Checkpoints

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
NAME = "best.weights.h5"


def save_as_best(model, folder):
    Checkpoints(folder, model, keras.optimizers.Adam()).save_best()


def save(model, folder):
    save_weights(model, folder / NAME)


def save_halved(model, folder):
    save_weights(model, folder / NAME, half=True)


@pytest.mark.parametrize("write", [save_as_best, save, save_halved])
@pytest.mark.parametrize("free", [0.05, 0.5, 0.95])
def test_a_full_disk_keeps_the_former_weights(tmp_path, small_disk, network, write, free):
    """`free`: what is left of the disk, as a part of the file's size."""
    model = network()
    write(model, tmp_path)
    size = (tmp_path / NAME).stat().st_size
    disk = small_disk(3 * size)
    write(model, disk)
    before = (disk / NAME).read_bytes()
    (disk / "others").write_bytes(bytes(int((2 - free) * size)))
    with pytest.raises(NoSpaceError, match=re.escape(NAME) + ": needs .* and the disk is full"):
        write(model, disk)
    assert (disk / NAME).read_bytes() == before
    assert sorted(path.name for path in disk.iterdir()) == [NAME, "others"]
    (disk / "others").unlink()
    write(model, disk)


KILLED_WHILE_SAVING = """
import os, sys
from pathlib import Path
from model.mcn import build_mcn
from model.weights import load_weights, save_weights
from tests.tiny import network_config

path, moment = sys.argv[1], int(sys.argv[2])
model = build_mcn(network_config())
load_weights(model, path)
for variable in model.trainable_variables:
    variable.assign(variable + 1)
calls = 0

def counting(function):
    def call(*arguments, **keywords):
        global calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), 9)
        return function(*arguments, **keywords)
    return call

os.fsync, Path.replace = counting(os.fsync), counting(Path.replace)
save_weights(model, path)
"""


def test_a_kill_at_any_moment_leaves_former_or_new_weights(tmp_path):
    """At each call that changes the disk, until a run survives."""
    model = scramble(build_mcn(network_config()))
    save_weights(model, tmp_path / NAME)
    content, former = (tmp_path / NAME).read_bytes(), weights_of(model)
    trained = {variable.path for variable in model.trainable_variables}
    found = []
    for moment in itertools.count(1):
        path = tmp_path / str(moment) / NAME
        path.parent.mkdir()
        path.write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-c", KILLED_WHILE_SAVING, str(path), str(moment)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        load_weights(model, path)
        is_new = any(not np.array_equal(v, former[key]) for key, v in weights_of(model).items())
        for key, value in weights_of(model).items():
            expected = former[key] + 1 if is_new and key in trained else former[key]
            np.testing.assert_array_equal(value, expected, err_msg=key)
        found.append(is_new)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    # Killed when the file is flushed, when it is renamed and when its folder is flushed.
    assert found == [False, False, True, True]
