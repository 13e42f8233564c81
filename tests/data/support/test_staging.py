"""Replacing several folders together: complete, interrupted, killed, and on a full disk."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config.errors import NoSpaceError, UserError
from config.signals import Stopped, stop_signals
from data.support import staging
from data.support.staging import complete_interrupted, replaced_together

OURS = ("lines.txt", "mask.bin", "extra/more.bin")


def is_ours(_, path):
    return path.as_posix() in OURS


def replace(anns, masks, content, **options):
    with replaced_together(anns, masks, is_ours=is_ours, **options) as (new_anns, new_masks):
        for folder, name in ((new_anns, "lines.txt"), (new_masks, "mask.bin")):
            folder.mkdir()
            (folder / name).write_text(content)
        (new_masks / "extra").mkdir()
        (new_masks / "extra" / "more.bin").write_text(content)


def contents(*folders):
    """Path of each file, hidden ones too, relative to its folder → text."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def expected(content):
    return {f"set/{name}": content for name in OURS}


@pytest.fixture
def sets(tmp_path):
    return tmp_path / "anns" / "set", tmp_path / "masks" / "set"


def all_files(sets):
    return contents(*(target.parent for target in sets))


@pytest.mark.parametrize("durable", [True, False])
def test_both_are_replaced_and_nothing_else_is_left(sets, durable):
    replace(*sets, "old")
    assert all_files(sets) == expected("old")
    replace(*sets, "new", durable=durable)
    assert all_files(sets) == expected("new")


@pytest.mark.parametrize(("name", "left"), [("mask.bin", {}), ("a.bin", {"a.bin.2": "old"})])
def test_files_replace_files_unless_they_are_those_of_others(tmp_path, name, left):
    path = tmp_path / name
    path.write_text("old")
    with replaced_together(path, is_ours=is_ours) as (new,):
        new.write_text("new")
        assert path.read_text() == "old"
    assert contents(tmp_path) == {name: "new", **left}


def test_what_is_not_written_is_removed(sets):
    anns, masks = sets
    replace(anns, masks, "old")
    (masks / "mine.txt").write_text("mine")
    with replaced_together(anns, masks, is_ours=is_ours) as (new, _):
        new.mkdir()
    assert all_files(sets) == {"set/mine.txt": "mine"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old(sets, error):
    replace(*sets, "old")

    def fail():
        with replaced_together(*sets, is_ours=is_ours) as (new_anns, new_masks):
            new_anns.mkdir()
            (new_anns / "lines.txt").write_text("new")
            new_masks.write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert all_files(sets) == expected("old")


@pytest.mark.parametrize("at", range(6))
def test_an_interruption_between_renames_leaves_the_old(sets, monkeypatch, at):
    replace(*sets, "old")
    renames = []
    rename = os.rename

    def interrupted(*paths):
        renames.append(paths)
        if len(renames) == at:
            raise KeyboardInterrupt
        rename(*paths)

    monkeypatch.setattr(os, "rename", interrupted)
    if at:
        with pytest.raises(KeyboardInterrupt):
            replace(*sets, "new")
        monkeypatch.undo()
        assert all_files(sets) == expected("old")
    else:
        replace(*sets, "new")
        assert len(renames) == 5  # The note and two for each target: `at` covers all of them.


def test_files_of_others_are_moved_along(sets):
    anns, masks = sets
    replace(anns, masks, "old")
    (anns / "notes").mkdir()
    (anns / "notes" / "thesis.txt").write_text("mine")
    (masks / "extra" / "photo.png").write_text("mine too")
    (masks / "extra" / "link").symlink_to(anns.parent)
    (masks / "dangling").symlink_to("nowhere")
    replace(anns, masks, "new")
    assert all_files(sets) == {
        **expected("new"),
        "set/notes/thesis.txt": "mine",
        "set/extra/photo.png": "mine too",
    }
    assert os.readlink(masks / "extra" / "link") == str(anns.parent)
    assert os.readlink(masks / "dangling") == "nowhere"


def test_a_file_of_others_is_never_overwritten(sets):
    anns, masks = sets
    replace(anns, masks, "old")
    (anns / "lines.csv").write_text("mine")
    with replaced_together(anns, masks, is_ours=is_ours) as (new, _):
        new.mkdir()
        (new / "lines.csv").write_text("new")
    assert contents(anns) == {"lines.csv": "new", "lines.csv.2": "mine"}


def test_a_folder_whose_name_a_new_file_takes_is_kept_under_another_one(sets, tmp_path):
    anns, masks = sets
    replace(anns, masks, "old")
    for name in ("notes.md", "more.md"):
        (anns / "val.txt").mkdir(exist_ok=True)
        (anns / "val.txt" / name).write_text("mine")
    (masks / "notes.md").write_text("mine")
    with replaced_together(anns, masks, is_ours=is_ours) as (new_anns, new_masks):
        new_anns.mkdir()
        (new_anns / "val.txt").write_text("new")
        new_masks.write_text("new")
    assert all_files(sets) == {
        **{"set/val.txt": "new", "set/val.txt.2/notes.md": "mine", "set/val.txt.2/more.md": "mine"},
        **{"set": "new", "set.2/notes.md": "mine"},
    }


def test_what_cannot_be_moved_stays_beside_the_new_target(sets, capsys, monkeypatch):
    anns, masks = sets
    replace(anns, masks, "old")
    (anns / "notes.md").write_text("mine")
    (anns / "mounted").mkdir()
    (anns / "mounted" / "data").write_text("mine")
    rename = os.rename

    def of_one_disk(source, target):
        if Path(source).name == "data":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", of_one_disk)
    own = {"set/notes.md": "mine", "set.2/mounted/data": "mine"}
    for content in ("new", "newer"):
        replace(anns, masks, content)
        assert all_files(sets) == {**expected(content), **own}
    warning = f"(Invalid cross-device link); these are kept in {anns.with_name('set.2')}"
    assert capsys.readouterr().err.count(warning) == 1


@pytest.mark.parametrize("function", ["_swap", "_discard"])
def test_a_signal_while_targets_are_moved_waits_until_all_are_new(sets, monkeypatch, function):
    replace(*sets, "old")
    (sets[0] / "notes.md").write_text("mine")
    original = getattr(staging, function)

    def stopped(*arguments):
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(staging, function, stopped)
    with pytest.raises(Stopped), stop_signals():
        replace(*sets, "new")
    assert all_files(sets) == {**expected("new"), "set/notes.md": "mine"}


def test_whose_a_file_is_is_decided_at_the_end_before_anything_is_moved(sets, tmp_path):
    anns, masks = sets
    replace(anns, masks, "old")
    (tmp_path / "notes").write_text("old")
    before, folders = None, set()

    def is_old(folder, path):
        assert contents(tmp_path, anns.parent, masks.parent) == before
        folders.add(folder)
        return (folder / path).read_text() == "old"

    targets = (anns, masks, tmp_path / "notes")
    with replaced_together(*targets, is_ours=is_old) as (new_anns, *_):
        new_anns.mkdir()
        (masks / "mask.bin").write_text("edited")
        before = contents(tmp_path, anns.parent, masks.parent)
    assert folders == {anns, masks, tmp_path}
    assert all_files(sets) == {"set/mask.bin": "edited"}
    assert not (tmp_path / "notes").exists()


def test_completing_nothing_writes_nothing(sets, tmp_path):
    complete_interrupted(sets[0])
    assert not list(tmp_path.iterdir())


def test_links_to_other_disks_stay(sets, tmp_path):
    anns, masks = sets
    far = tmp_path / "far" / "set"
    far.mkdir(parents=True)
    masks.parent.mkdir()
    masks.symlink_to(far)
    replace(anns, masks, "new")
    assert masks.is_symlink()
    assert contents(far) == {"mask.bin": "new", "extra/more.bin": "new"}
    assert os.listdir(masks.parent) == ["set"]


def test_a_second_process_is_refused(sets):
    replace(*sets, "old")

    def nested():
        with replaced_together(*sets, is_ours=is_ours):
            replace(*sets, "new")

    with pytest.raises(UserError, match=r"another process is writing .*anns/set; wait"):
        nested()
    replace(*sets, "new")
    assert all_files(sets) == expected("new")


@pytest.fixture
def sharing(tmp_path):
    """Two pairs of targets in folders of their own, which share masks/ by a link."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "masks").symlink_to(tmp_path / "masks")
    (tmp_path / "masks").mkdir()
    return [(tmp_path / name / "anns/set", tmp_path / name / "masks/set") for name in ("a", "b")]


def test_targets_that_are_shared_by_a_link_are_written_by_one_process(sharing, tmp_path):
    mine, theirs = sharing
    with replaced_together(*mine, is_ours=is_ours) as (new_anns, new_masks):
        new_masks.mkdir()
        (new_masks / "mask.bin").write_text("mine")
        with pytest.raises(UserError, match=r"another process is writing .*b/masks/set; wait"):
            replace(*theirs, "theirs")
        new_anns.mkdir()
    assert contents(tmp_path / "masks") == {"set/mask.bin": "mine"}
    assert not list(theirs[0].parent.glob("set"))
    replace(*theirs, "theirs")
    assert contents(tmp_path / "masks").keys() == {"set/mask.bin", "set/extra/more.bin"}


def test_other_targets_in_the_same_folders_are_no_obstacle(sets):
    others = [target.with_name("other") for target in sets]
    with replaced_together(*sets, is_ours=is_ours) as new:
        replace(*others, "other")
        for folder in new:
            folder.mkdir()
    assert all(target.is_dir() for target in (*sets, *others))


@pytest.mark.parametrize("at", [0, 1])
def test_a_target_whose_new_files_were_deleted_meanwhile_stays(sets, at):
    replace(*sets, "old")

    def deleted():
        with replaced_together(*sets, is_ours=is_ours) as new:
            for folder in new:
                folder.mkdir()
            shutil.rmtree(new[at].parent)

    with pytest.raises(UserError, match=r"set: its new files were deleted while they were written"):
        deleted()
    assert all_files(sets) == expected("old")


def test_a_full_disk_names_the_target_and_leaves_the_old(small_disk):
    disk = small_disk(400_000)
    sets = disk / "anns" / "set", disk / "masks" / "set"
    replace(*sets, "old")
    for size in (300_000, 399_000):  # One while writing, one or both when the note is written.
        with pytest.raises(NoSpaceError, match=r"/(anns|masks)/set.*the disk is full") as caught:
            replace(*sets, "x" * size)
        assert ".new" not in str(caught.value)
        assert all_files(sets) == expected("old")
    replace(*sets, "new")
    assert all_files(sets) == expected("new")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[0] = {root!r}
from tests.data.support.test_staging import is_ours, replace, replaced_together

calls, at = 0, int(sys.argv[1])
def counted(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in sys.argv[2:]:
    setattr(os, name, counted(getattr(os, name)))
{action}
"""
CHANGES = ("rename", "unlink", "rmdir", "mkdir", "open", "fsync")
REPLACE = 'replace(Path("anns/set"), Path("masks/set"), "new")'
REPLACE_FILE = """
with replaced_together(Path("mask.bin"), is_ours=is_ours) as (new,):
    new.write_text("new")
"""
REMOVE_MASKS = """
with replaced_together(Path("anns/set"), Path("masks/set"), is_ours=is_ours) as (new, _):
    new.mkdir()
"""


def killed(folder, at, calls=CHANGES, action=REPLACE):
    """Runs the action in a process that is killed at its call number `at`; whether it was."""
    root = str(Path(__file__).resolve().parents[3])
    command = [sys.executable, "-c", KILLED.format(root=root, action=action), str(at), *calls]
    code = subprocess.run(command, cwd=folder, check=False).returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize(("existed", "at", "of"), [(1, 3, 0), (1, 5, 1), (0, 2, 0), (0, 3, 1)])
def test_a_folder_put_in_place_of_a_target_after_a_kill_is_kept(
    tmp_path, sets, capsys, existed, at, of
):
    if existed:
        replace(*sets, "old")
    assert killed(tmp_path, at, ["rename"])
    sets[of].mkdir()  # Between the two renames of a target, there is none.
    (sets[of] / OURS[of]).write_text("mine")
    complete_interrupted(sets[0])
    assert all_files(sets) == {**expected("new"), f"set.2/{OURS[of]}": "mine"}
    assert f"{sets[of]}: " in (warning := capsys.readouterr().err)
    assert f"kept as {sets[of]}.2" in warning


@pytest.mark.parametrize("at", [2, 3])
def test_a_file_put_in_place_of_a_target_after_a_kill_is_kept(tmp_path, at):
    path = tmp_path / "mask.bin"
    if at == 3:
        path.write_text("old")
    assert killed(tmp_path, at, ["rename"], REPLACE_FILE)
    path.write_text("mine")
    complete_interrupted(path)
    assert contents(tmp_path) == {"mask.bin": "new", "mask.bin.2": "mine"}


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_folder_put_in_place_of_a_removed_target_after_a_kill_is_kept(tmp_path, sets, at):
    anns, masks = sets
    replace(anns, masks, "old")
    assert killed(tmp_path, at, ["unlink"], REMOVE_MASKS)  # That of the note is the fourth.
    assert not masks.exists()
    masks.mkdir()
    (masks / "mask.bin").write_text("mine")
    complete_interrupted(anns)
    assert all_files(sets) == {"set/mask.bin": "mine"}


@pytest.mark.parametrize("action", [REPLACE, REPLACE_FILE])
def test_a_former_file_that_is_changed_after_a_kill_is_kept(tmp_path, sets, action):
    path = tmp_path / "mask.bin" if action == REPLACE_FILE else sets[0] / "lines.txt"
    replace(*sets, "old")
    path.write_text("old")
    assert killed(tmp_path, 2, ["rename"], action)  # Before the former one is moved.
    path.write_text("edited")
    complete_interrupted(path if action == REPLACE_FILE else sets[0])
    assert path.read_text() == "new"
    assert path.with_name(f"{path.name}.2").read_text() == "edited"


def test_a_target_deleted_after_a_kill_is_no_obstacle(tmp_path, sets):
    replace(*sets, "old")
    assert killed(tmp_path, 2, ["rename"])
    shutil.rmtree(sets[0])
    complete_interrupted(sets[0])
    assert all_files(sets) == expected("new")


@pytest.mark.slow
def test_after_a_kill_at_any_point_the_next_use_finds_one_state(tmp_path, sets):
    anns, masks = sets
    at, states, was_mixed = 0, set(), False
    while True:
        at += 1
        replace(anns, masks, "old")
        (masks / "mine.txt").write_text("mine")
        if not killed(tmp_path, at):
            break
        was_mixed |= {(anns / "lines.txt").exists(), (masks / "mask.bin").exists()} == {True, False}
        # The next use, which fails itself: what it leaves is what the killed one comes to.
        with pytest.raises(KeyError), replaced_together(*sets, is_ours=lambda *_: False):
            raise KeyError
        found = all_files(sets)
        assert found.pop("set/mine.txt") == "mine"
        assert found in (expected("old"), expected("new")), at
        states.add(found["set/lines.txt"])
        assert not [p for t in sets for p in t.parent.iterdir() if ".lock" not in p.name and p != t]
    assert states == {"old", "new"}
    assert was_mixed  # Some kill was in the middle of the renames.
