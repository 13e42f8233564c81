"""Preparation is a transaction: interrupted, killed or on a full disk, the former set stays."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data.data_process import main
from data.preparation import referring_sets
from data.preparation.manifest import check_pairing, read_manifest
from data.preparation.raw.raw_set import RawReferent, RawSet
from data.preparation.raw.reading import read_raw_set
from data.preparation.referring_sets import needed_bytes, prepare_set
from data.synthetic.dataset import Settings, make_demo
from tests.data.raw_set import read_lines, run, state

ROOT = Path(__file__).resolve().parents[3]


def drop_one(refs):
    """Removes one of the three training referents."""
    refs.remove(next(ref for ref in refs if ref["split"] == "train"))


def contents(folder):
    return {path: content for path, (content, _) in state(folder).items()}


def interrupt_at(number, monkeypatch, error=KeyboardInterrupt):
    """Makes the decoding of a mask fail."""
    decode, calls = referring_sets.decode_segmentation, []

    def decode_or_fail(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise error
        return decode(*arguments)

    monkeypatch.setattr(referring_sets, "decode_segmentation", decode_or_fail)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("number", [1, 4])
def test_an_interrupted_preparation_leaves_the_old_set(raw, tmp_path, monkeypatch, number, error):
    assert run(raw, tmp_path, "--generate_mask") == 0
    before = state(tmp_path / "out")
    raw(drop_one)
    interrupt_at(number, monkeypatch, error)
    if error is KeyboardInterrupt:
        assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 130
    else:
        with pytest.raises(error):
            run(raw, tmp_path, "--generate_mask", "--overwrite")
    assert state(tmp_path / "out") == before
    monkeypatch.undo()
    assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
    assert len(read_lines(tmp_path)) == 5


KILLED = """
import os, signal, sys
sys.path[0] = {root!r}
from data import data_process
from data.preparation import referring_sets

calls = 0
def killed(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

if {what!r} == "masks":
    referring_sets.decode_segmentation = killed(referring_sets.decode_segmentation)
else:
    for name in ("rename", "replace", "unlink", "rmdir"):
        setattr(os, name, killed(getattr(os, name)))
sys.exit(data_process.main(sys.argv[1:]))
"""


def killed(raw, tmp_path, what, at):
    """Prepares in a process that is killed; whether it was."""
    options = ["--data_root", raw.root, "--output_dir", tmp_path / "out", "--generate_mask"]
    command = [sys.executable, "-c", KILLED.format(root=str(ROOT), what=what, at=at)]
    done = subprocess.run([*command, *options, "--overwrite"], check=False, capture_output=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def test_a_kill_while_masks_are_written_leaves_the_old_set(raw, tmp_path):
    assert run(raw, tmp_path, "--generate_mask") == 0
    before = state(tmp_path / "out")
    raw(drop_one)
    assert killed(raw, tmp_path, "masks", 4)
    left = state(tmp_path / "out")
    assert {path: left[path] for path in before} == before
    assert len(left) > len(before)  # The unfinished one, which the next run removes.
    assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
    assert set(state(tmp_path / "out")) == set(before)
    assert len(read_lines(tmp_path)) == 5


@pytest.mark.slow
def test_a_kill_at_any_step_of_the_replacement_leaves_one_of_both_sets(raw, tmp_path):
    out, refs = tmp_path / "out", raw.root / "refcoco/refs(unc).p"
    old_refs = refs.read_bytes()
    raw(drop_one)
    new_refs = refs.read_bytes()
    sets = {}
    for content in (new_refs, old_refs):
        refs.write_bytes(content)
        assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
        sets[content] = contents(out)
    at, seen = 0, []
    while True:
        at += 1
        refs.write_bytes(new_refs)
        if not killed(raw, tmp_path, "renames", at):
            break
        # Any use recovers, even one that is refused.
        raw(drop_one)
        assert run(raw, tmp_path, "--generate_mask") == 2
        found = contents(out)
        assert found in sets.values(), at
        seen.append(found == sets[new_refs])
        check_pairing(out / "anns/refcoco/train.txt", out / "masks/refcoco")
        refs.write_bytes(old_refs)
        assert run(raw, tmp_path, "--generate_mask", "--overwrite") == 0
    assert len(seen) > 10
    assert seen == sorted(seen)  # First the old one is left, later the new one.
    assert {*seen} == {False, True}


def test_a_full_disk_is_a_sentence_and_leaves_the_old_set(raw, small_disk, monkeypatch, capsys):
    disk = small_disk(200_000)
    assert run(raw, disk, "--generate_mask") == 0
    before = state(disk / "out")
    (disk / "other").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
    raw(drop_one)
    assert run(raw, disk, "--generate_mask", "--overwrite") == 2
    error = capsys.readouterr().err
    assert "error: refcoco (unc) needs " in error
    assert f" and {disk / 'out'} has 0 bytes free: free some space or choose another" in error
    # The disk fills up after the check.
    monkeypatch.setattr(referring_sets, "needed_bytes", lambda *_: 0)
    assert run(raw, disk, "--generate_mask", "--overwrite") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {disk / 'out/masks/refcoco/masks.jsonl'}: the disk is full")
    assert state(disk / "out") == before
    assert {path.name for path in (disk / "out/masks").iterdir()} == {"refcoco", ".refcoco.lock"}
    assert {path.name for path in (disk / "out/anns").iterdir()} == {"refcoco", ".refcoco.lock"}
    (disk / "other").unlink()
    assert run(raw, disk, "--generate_mask", "--overwrite") == 0
    assert len(read_lines(disk)) == 5


def test_two_preparations_at_once_are_refused(raw, tmp_path, monkeypatch, capsys):
    prepare = referring_sets.check_free_space
    monkeypatch.setattr(
        referring_sets, "check_free_space", lambda *_: run(raw, tmp_path, "--generate_mask")
    )
    assert run(raw, tmp_path, "--generate_mask") == 0
    assert "another process is writing" in capsys.readouterr().err
    monkeypatch.setattr(referring_sets, "check_free_space", prepare)
    assert run(raw, tmp_path, "--generate_mask") == 0


def size_of(output):
    return sum(
        path.stat().st_size for path in output.rglob("*") if path.suffix in (".txt", ".jsonl")
    )


def test_the_space_needed_is_estimated_and_said(tmp_path, capsys):
    make_demo(tmp_path / "raw", Settings(scenes=20, eval_scenes=2, seed=5))
    raw_set = read_raw_set(tmp_path / "raw", "refcoco", "unc")
    for generate_mask, within in ((False, 2), (True, 2)):
        output = tmp_path / f"masks_{generate_mask}"
        prepare_set(raw_set, output, generate_mask)
        actual = size_of(output)
        assert actual <= needed_bytes(raw_set, generate_mask) <= within * actual
    command = ["--data_root", str(tmp_path / "raw"), "--output_dir", str(tmp_path / "out")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert re.search(rf"^refcoco \(unc\) needs about .* kB in {tmp_path / 'out'}$", said, re.M)


def test_masks_of_polygons_need_no_more_than_estimated(raw, tmp_path):
    assert run(raw, tmp_path, "--generate_mask") == 0
    raw_set = read_raw_set(raw.root, "refcoco", "unc")
    assert size_of(tmp_path / "out") <= needed_bytes(raw_set, True)


@pytest.mark.parametrize(
    "segmentation",
    [None, 5, [], [5], {}, {"counts": None}, {"counts": [1] * 9}, [{"counts": "123"}], ["a"]],
)
def test_damaged_segmentations_do_not_stop_the_estimate(segmentation):
    referent = RawReferent(
        1, 2, ("val",), "a.jpg", 100, 80, 1, (-1e300, 0, 1e300, 5), segmentation, ("x",)
    )
    raw_set = RawSet("refcoco", "unc", [referent], {})
    assert 0 < needed_bytes(raw_set, False) < needed_bytes(raw_set, True) < 2_000


def test_a_referent_of_two_splits_has_one_mask_and_a_line_in_each(raw, tmp_path):
    raw(lambda refs: refs[-1].update(split="testAB"), dataset="refclef")
    assert run(raw, tmp_path, "--dataset", "refclef", "--generate_mask") == 0
    folder = tmp_path / "out/anns/refclef"
    shared = {
        name: set((folder / f"{name}.txt").read_text().splitlines()) for name in ("testA", "testB")
    }
    both = shared["testA"] & shared["testB"]
    assert len(both) == 1
    masks = (tmp_path / "out/masks/refclef/masks.jsonl").read_text().splitlines()
    assert len(masks) == 6
    splits = read_manifest(folder).splits
    assert splits["testA"]["referents"] == len(shared["testA"])
    assert sum(counts["referents"] for counts in splits.values()) == 7
