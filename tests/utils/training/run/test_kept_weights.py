"""Best weights that later ones cannot be compared with are kept with their settings."""

import itertools
import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest

from config.errors import NoSpaceError
from config.hdf5_file import CHECKSUM, opened_hdf5, written_hdf5
from config.schema import Config
from utils.prediction.run_folder import settings_of_weights
from utils.training.run.kept_weights import is_kept, keep_weights, kept_weights

SETTINGS = {**Config(input_size=96).to_dict(), "contents": {"anchors_file": "digest"}}
CHANGES = {"open", "os.mkdir", "os.rename", "os.remove"}


def write_run(folder, number=1):
    """Writes what a run has in its folder; returns the checksum of its weights."""
    folder.mkdir(exist_ok=True)
    path = folder / "best.weights.h5"
    with written_hdf5(path) as file:
        file["values"] = np.full(3, number)
    (folder / "config.json").write_text(json.dumps(Config(input_size=64).to_dict()))
    (folder / "versions.json").write_text('{"keras": "3"}\n')
    with opened_hdf5(path) as file:
        return str(file.attrs[CHECKSUM])


def test_weights_are_kept_with_the_settings_of_their_training(tmp_path):
    checksum = write_run(tmp_path)
    kept = keep_weights(tmp_path, 3, SETTINGS)
    assert kept == tmp_path / "best.epoch3" / "best.weights.h5"
    assert not (tmp_path / "best.weights.h5").exists()
    found = settings_of_weights(kept)
    assert (found.config.input_size, found.warnings) == (96, ())
    assert found.config.evaluate_model == str(kept)
    assert (kept.parent / "versions.json").read_text() == '{"keras": "3"}\n'
    assert kept_weights(tmp_path, 3, checksum) == kept
    assert kept_weights(tmp_path, 3, "other") is None
    assert kept_weights(tmp_path, 2, checksum) is None


def test_kept_weights_replace_no_others(tmp_path):
    (tmp_path / "best.epoch1").mkdir()
    (tmp_path / "best.epoch1" / "config.json").write_text("mine")
    (tmp_path / "best.epoch1-2").write_text("mine")
    (tmp_path / "best.epoch1-3").symlink_to(tmp_path / "nothing")
    for number in (4, 5):
        checksum = write_run(tmp_path, number)
        kept = keep_weights(tmp_path, 1, SETTINGS)
        assert kept == tmp_path / f"best.epoch1-{number}" / "best.weights.h5"
        assert kept_weights(tmp_path, 1, checksum) == kept
    assert (tmp_path / "best.epoch1" / "config.json").read_text() == "mine"
    assert (tmp_path / "best.epoch1-2").read_text() == "mine"


@pytest.mark.parametrize("name", ["best_seg", "best_ema"])
def test_other_best_weights_are_kept_beside(tmp_path, name):
    checksum, file = write_run(tmp_path), f"{name}.weights.h5"
    (tmp_path / "best.weights.h5").rename(tmp_path / file)
    kept = keep_weights(tmp_path, 3, SETTINGS, file)
    assert kept == tmp_path / f"{name}.epoch3" / "best.weights.h5"
    assert settings_of_weights(kept).config.evaluate_model == str(kept)
    assert kept_weights(tmp_path, 3, checksum, file) == kept
    assert kept_weights(tmp_path, 3, checksum) is None
    assert is_kept(kept.parent)


def killed_while_keeping(folder, moment):
    """Kills a process before its `moment`-th change of the disk; False if it has fewer."""
    calls = itertools.count(1)

    def kill(event, arguments):
        is_reading = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES and not is_reading and next(calls) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            sys.addaudithook(kill)
            keep_weights(folder, 1, SETTINGS)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def test_a_kill_at_any_moment_leaves_weights_where_their_settings_are(tmp_path):
    write_run(tmp_path / "unharmed")
    keep_weights(tmp_path / "unharmed", 1, SETTINGS)
    names = sorted(path.name for path in (tmp_path / "unharmed").rglob("*"))
    for moment in itertools.count(1):
        folder = tmp_path / str(moment)
        checksum = write_run(folder)
        if not killed_while_keeping(folder, moment):
            break
        assert kept_weights(folder, 1, checksum) is None
        assert settings_of_weights(folder / "best.weights.h5").config.input_size == 64
        kept = keep_weights(folder, 1, SETTINGS)
        assert kept == kept_weights(folder, 1, checksum) == folder / "best.epoch1/best.weights.h5"
        assert sorted(path.name for path in folder.rglob("*")) == names
    assert moment > 5  # A folder, two files that are opened and renamed, and the weights.


def test_a_full_disk_leaves_the_weights_where_they_are(small_disk, tmp_path):
    checksum = write_run(tmp_path / "run")
    disk = small_disk(200_000)
    folder = disk / "run"
    shutil.copytree(tmp_path / "run", folder)
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free))
    with pytest.raises(NoSpaceError, match=r"config\.json: needs .* the disk is full"):
        keep_weights(folder, 1, SETTINGS)
    assert (folder / "best.weights.h5").exists()
    (disk / "ballast").unlink()
    assert kept_weights(folder, 1, checksum) is None
    assert keep_weights(folder, 1, SETTINGS) == folder / "best.epoch1" / "best.weights.h5"
