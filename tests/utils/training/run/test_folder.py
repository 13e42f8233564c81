"""One run per folder: occupied folders are refused, and nothing of an earlier run is lost."""

import datetime
import subprocess
import sys

import keras
import pytest

from config.errors import UserError
from utils.training.run.checkpoints import Checkpoints
from utils.training.run.folder import (
    RunFolderError,
    check_changes,
    check_resumption,
    held_folder,
    move_away,
)
from utils.training.run.state import RunState

SETTINGS = {"lr": 0.1, "input_size": 96, "contents": dict.fromkeys(
    ("train_set", "evaluate_set", "anchors_file"), "digest"
)}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """The folder of a run with a state."""
    x = keras.Input((2,))
    model = keras.Model(x, keras.layers.Dense(1)(x))
    Checkpoints(tmp_path / "run", model, keras.optimizers.Adam()).save(
        RunState(3, settings=SETTINGS)
    )
    return tmp_path / "run"


def test_a_new_folder_and_equal_settings_have_no_changes(folder, tmp_path):
    check_resumption(tmp_path / "none", SETTINGS)
    assert not (tmp_path / "none").exists()
    check_resumption(folder, SETTINGS)
    assert check_changes(folder, RunState(3, settings=SETTINGS), SETTINGS) == []


def test_changes_are_returned_or_refused(folder):
    state = RunState(3, settings=SETTINGS)
    assert check_changes(folder, state, SETTINGS | {"lr": 0.2}) == ["lr: 0.1 → 0.2"]
    changed = SETTINGS | {"lr": 0.2, "input_size": 128}
    with pytest.raises(
        RunFolderError, match=r"input_size: 96 → 128\).*--overwrite.*--resume force"
    ):
        check_resumption(folder, changed)
    check_resumption(folder, changed, force=True)
    assert set(check_changes(folder, state, changed, force=True)) == {
        "lr: 0.1 → 0.2",
        "input_size: 96 → 128",
    }


@pytest.mark.parametrize(
    "name", ["last.state.h5", "previous.state.h5", "best.weights.h5", "config.json"]
)
def test_a_folder_in_the_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(RunFolderError, match=rf"^{folder / name}: not a file, .*log_path$"):
        check_resumption(folder, SETTINGS)


@pytest.mark.parametrize("name", ["best.weights.h5", "epochs.jsonl"])
def test_results_without_a_state_are_refused(tmp_path, name):
    (tmp_path / name).write_text("results")
    with pytest.raises(RunFolderError, match=rf"another run \({name}\).*--overwrite"):
        check_resumption(tmp_path, SETTINGS)
    assert (tmp_path / name).read_text() == "results"


def test_files_of_others_do_not_occupy_a_folder(tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    check_resumption(tmp_path, SETTINGS)


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "run"
    path.write_text("mine")
    for use in (lambda: held_folder(path).__enter__(), lambda: check_resumption(path, SETTINGS)):
        with pytest.raises(RunFolderError, match=f"log_path = {path}: is a file; name a folder"):
            use()
    with pytest.raises(RunFolderError):
        move_away(path)
    assert path.read_text() == "mine"


def test_overwriting_keeps_the_earlier_run_and_the_cached_features(folder):
    today = datetime.date.today().isoformat()
    for number, suffix in enumerate(("", "-2", "-3"), start=1):
        (folder / "features").mkdir(parents=True, exist_ok=True)
        (folder / "features" / "cached").write_text("features")
        (folder / "notes.md").write_text(f"run {number}")
        old = move_away(folder)
        assert old == folder.with_name(f"run.old-{today}{suffix}")
        assert (old / "notes.md").read_text() == f"run {number}"
        assert [path.name for path in folder.iterdir()] == ["features"]
    assert move_away(folder.with_name("none")) is None


def test_cached_features_alone_are_no_earlier_run(tmp_path):
    with held_folder(tmp_path / "run"):
        (tmp_path / "run" / "features").mkdir()
    assert move_away(tmp_path / "run") is None
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_second_process_is_refused_and_moves_nothing(folder):
    code = """
import sys
from utils.training.run.folder import held_folder
with held_folder(sys.argv[1]):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match="run: another process is training"),
            held_folder(folder),
        ):
            pass
        with pytest.raises(UserError, match="run: another process is training"):
            move_away(folder)
        other.kill()
    assert (folder / "last.state.h5").exists()
    assert move_away(folder) is not None
