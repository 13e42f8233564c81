"""One run per folder: occupied folders are refused, and nothing of an earlier run is lost."""

import datetime
import os
import subprocess
import sys

import keras
import pytest

from config.errors import UserError
from utils.training.run.checkpoints import Checkpoints
from utils.training.run.folder import (
    READ,
    RunFolderError,
    check_changes,
    check_overwrite,
    check_resumption,
    held_folder,
    move_away,
)
from utils.training.run.kept_weights import keep_weights
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
    "name",
    [
        "last.state.h5",
        "previous.state.h5",
        "best.weights.h5",
        "best_seg.weights.h5",
        "best_ema.weights.h5",
        "config.json",
        "epochs.jsonl",
    ],
)
def test_a_folder_in_the_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(RunFolderError, match=rf"^{folder / name}: not a file, .*log_path$"):
        check_resumption(folder, SETTINGS)


@pytest.mark.parametrize("name", ["epochs.jsonl", "versions.json"])
def test_a_pipe_in_the_place_of_a_file_is_refused(folder, name):
    os.mkfifo(folder / name)
    with pytest.raises(RunFolderError, match=rf"^{folder / name}: not a file"):
        check_resumption(folder, SETTINGS)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("free_body", 1, 2),
        ("bert_trainable", 0, 1),
        ("precision", "float32", "mixed_float16"),
        ("ema", 0, 0.99),
        ("ema", 0.99, 0.0),
    ],
)
def test_changes_that_give_the_optimizer_other_variables_are_refused(
    tmp_path, key, before, after, force
):
    usual = SETTINGS | {
        "text_encoder": "bert", "free_body": 1, "bert_trainable": 0, "precision": "float32",
    }  # fmt: skip
    saved, current = usual | {key: before}, usual | {key: after}
    text = rf"^{tmp_path}: .*\({key}: {before} → {after}\).*pretrained_weights={tmp_path}"
    with pytest.raises(RunFolderError, match=text):
        check_changes(tmp_path, RunState(3, settings=saved), current, force=force)


def test_changes_that_leave_the_optimizer_its_variables_are_printed(tmp_path):
    saved = SETTINGS | {"text_encoder": "rnn", "bert_trainable": 0, "precision": "float32"}
    current = saved | {"bert_trainable": 1, "precision": "mixed_bfloat16"}
    changes = check_changes(tmp_path, RunState(3, settings=saved), current)
    assert changes == ["bert_trainable: 0 → 1", "precision: float32 → mixed_bfloat16"]
    # An earlier version did not know averages.
    assert check_changes(tmp_path, RunState(3, settings=saved), saved | {"ema": 0.0}) == []
    with pytest.raises(RunFolderError, match=r"\(ema: 0 → 0\.9\)"):
        check_changes(tmp_path, RunState(3, settings=saved), saved | {"ema": 0.9})


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
        (folder / "epochs.jsonl").touch()
        old = move_away(folder)
        assert old == folder.with_name(f"run.old-{today}{suffix}")
        assert (old / "notes.md").read_text() == f"run {number}"
        assert [path.name for path in folder.iterdir()] == ["features"]
    assert move_away(folder.with_name("none")) is None


def reads(**changes):
    """Settings of a run that reads nothing from its log folder but what `changes` says."""
    return dict.fromkeys(READ, "") | {"word_embed": "en_vectors_web_lg"} | changes


@pytest.mark.parametrize("key", READ)
@pytest.mark.parametrize("way", ["itself", "through the folder's link", "from elsewhere", "there"])
def test_overwriting_never_moves_what_the_new_run_reads(folder, tmp_path, key, way):
    (tmp_path / "elsewhere").write_text("mine")
    (folder / "own").write_text("mine")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "into").symlink_to(folder / "own")
    (tmp_path / "log").symlink_to(folder)
    path = {
        "itself": folder / "own",
        "through the folder's link": tmp_path / "log" / "own",
        "from elsewhere": tmp_path / "into",
        "there": folder / "linked",
    }[way]
    for log_path in (folder, tmp_path / "log"):
        with pytest.raises(RunFolderError, match=rf"^{key} = {path}: --overwrite would move it"):
            check_overwrite(log_path, reads(**{key: str(path)}))


def test_what_stays_may_be_read(folder, tmp_path):
    (folder / "features").mkdir()
    for path in (folder / "features" / "cache", tmp_path / "run2" / "cache"):
        check_overwrite(folder, reads(cache_dir=str(path)))


def test_overwriting_moves_no_folder_that_is_not_of_a_run(folder, tmp_path):
    """Not the folder that contains all runs, which a truncated log_path would name."""
    (tmp_path / "config.json").write_text("{}")
    for use in (move_away, lambda path: check_overwrite(path, reads())):
        with pytest.raises(RunFolderError, match=rf"^log_path = {tmp_path}: holds no run .*run"):
            use(tmp_path)
    assert (folder / "last.state.h5").exists()


def test_overwriting_moves_no_other_run_inside(folder):
    (folder / "sweep" / "lr").mkdir(parents=True)
    other = folder / "sweep" / "lr" / "previous.state.h5"
    other.touch()
    for use in (move_away, lambda path: check_overwrite(path, reads())):
        with pytest.raises(RunFolderError, match=rf"another run .*: {other.parent}; move that"):
            use(folder)
    assert other.exists()


def test_overwriting_moves_the_best_weights_that_the_run_has_kept(folder):
    (folder / "best.weights.h5").write_bytes(b"best")
    keep_weights(folder, 12, SETTINGS)
    check_overwrite(folder, reads())
    assert (move_away(folder) / "best.epoch12" / "best.weights.h5").read_bytes() == b"best"


@pytest.mark.parametrize("inside", ["best.epoch5", "best.epoch12/fine"])
def test_overwriting_moves_no_run_that_is_named_like_kept_weights_or_inside_them(folder, inside):
    (folder / "best.weights.h5").write_bytes(b"best")
    keep_weights(folder, 12, SETTINGS)
    (folder / inside).mkdir()
    other = folder / inside / "last.state.h5"
    other.touch()
    for use in (move_away, lambda path: check_overwrite(path, reads())):
        with pytest.raises(RunFolderError, match=rf"another run .*: {other.parent}; move that"):
            use(folder)
    assert other.exists()


def test_overwriting_a_link_renames_its_target(folder, tmp_path):
    """The new run belongs to the disk that the link leads to."""
    (tmp_path / "disk").mkdir()
    target = folder.rename(tmp_path / "disk" / "large")
    folder.symlink_to(target)
    old = move_away(folder)
    assert old.parent == target.parent
    assert (old / "last.state.h5").exists()
    assert folder.is_symlink()
    with held_folder(folder):
        assert list(target.iterdir()) == [target / ".lock"]


def test_a_mounted_disk_is_not_overwritten_and_the_way_out_is_named(folder, small_disk):
    disk = small_disk(100_000)
    (disk / "epochs.jsonl").touch()
    with pytest.raises(RunFolderError, match=rf"^log_path = {disk}: .*mounted.*inside it"):
        check_overwrite(disk, reads())
    with pytest.raises(RunFolderError, match=rf"^log_path = {disk}: .*mounted.*inside it"):
        move_away(disk)
    assert (disk / "epochs.jsonl").exists()


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
