"""Weights are written completely or not at all: on full disks, and when the process is killed."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from config.errors import NoSpaceError
from model.weights import load_weights, save_weights
from tests.tiny import weights_of
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
def test_a_full_disk_keeps_the_former_weights(tmp_path, small_disk, network, write):
    model = network()
    write(model, tmp_path)
    before = (tmp_path / NAME).read_bytes()
    disk = small_disk(3 * len(before))
    (disk / NAME).write_bytes(before)
    for free in (0.05, 0.5, 0.95):  # What is left of the disk, as a part of the file's size.
        (disk / "others").write_bytes(bytes(int((2 - free) * len(before))))
        with pytest.raises(NoSpaceError, match=re.escape(NAME) + ": needs .* and the disk is full"):
            write(model, disk)
        assert (disk / NAME).read_bytes() == before
        assert sorted(path.name for path in disk.iterdir()) == [NAME, "others"]
        (disk / "others").unlink()
    write(model, disk)


KILLED_WHILE_SAVING = """
import itertools, os, sys
from pathlib import Path
from model.mcn import build_mcn
from model.weights import load_weights, save_weights
from tests.tiny import network_config

folder, saved = Path(sys.argv[1]), Path(sys.argv[2])
content = saved.read_bytes()
model = build_mcn(network_config())
load_weights(model, saved)
for variable in model.trainable_variables:
    variable.assign(variable + 1)

def save_and_die(path, moment):
    calls = itertools.count(1)

    def counting(function):
        def call(*arguments, **keywords):
            if next(calls) == moment:
                os.kill(os.getpid(), 9)
            return function(*arguments, **keywords)
        return call

    os.fsync, Path.replace = counting(os.fsync), counting(Path.replace)
    save_weights(model, path)

for moment in itertools.count(1):
    path = folder / str(moment) / saved.name
    path.parent.mkdir()
    path.write_bytes(content)
    child = os.fork()
    if not child:
        save_and_die(path, moment)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -9:
        break
"""


def test_a_kill_at_any_moment_leaves_former_or_new_weights(tmp_path, network):
    """At each call that changes the disk, until a process survives."""
    model = network()
    save_weights(model, tmp_path / NAME)
    former, trained = weights_of(model), {v.path for v in model.trainable_variables}
    (tmp_path / "killed").mkdir()
    subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, tmp_path / "killed", tmp_path / NAME],
        cwd=ROOT, check=True, timeout=300,
    )  # fmt: skip
    found = []
    for moment in range(1, 1 + len(list((tmp_path / "killed").iterdir()))):
        load_weights(model, tmp_path / "killed" / str(moment) / NAME)
        is_new = any(not np.array_equal(v, former[key]) for key, v in weights_of(model).items())
        for key, value in weights_of(model).items():
            expected = former[key] + 1 if is_new and key in trained else former[key]
            np.testing.assert_array_equal(value, expected, err_msg=key)
        found.append(is_new)
    load_weights(model, tmp_path / NAME)
    # Killed when the file is flushed, when it is renamed and when its folder is flushed; the last
    # process survived.
    assert found == [False, False, True, True]
