"""The folder of uploads: what is found in it, what is deleted, and what is never touched."""

import os
import subprocess
import sys
import time

import pytest

from utils.page import uploads as module
from utils.page.uploads import KEPT_SECONDS, LOCK, PREFIX, Uploads, private_folder


@pytest.fixture
def uploads(tmp_path):
    (tmp_path / "uploads").mkdir()
    return Uploads(tmp_path / "uploads")


def write(uploads, name, size=1, age=0.0):
    path = uploads.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_only_files_inside_are_found(uploads, tmp_path):
    inside = write(uploads, "ab/photo.jpg")
    outside = tmp_path / "secret.jpg"
    outside.touch()
    (uploads.folder / "ab/link").symlink_to(outside)
    (uploads.folder / "ab/inner").symlink_to(inside)
    (uploads.folder / "out").symlink_to(tmp_path)
    os.mkfifo(uploads.folder / "ab/fifo")
    write(uploads, LOCK)
    assert uploads.find(str(inside)) == uploads.find(f"{uploads.folder}/ab/inner") == inside
    for name in (
        "ab/link", "ab/fifo", "ab", "", LOCK, "none", "out/secret.jpg", "ab/../ab/photo.jpg",
        "ab/photo.jpg/", "ab//photo.jpg", "./ab/photo.jpg", "ab/photo.jpg\0", "a" * 300,
    ):  # fmt: skip
        assert uploads.find(f"{uploads.folder}/{name}") is None, name
    for path in (outside, "ab/photo.jpg", f"{uploads.folder}2/x", "/dev/zero", "\0", "\ud800"):
        assert uploads.find(str(path)) is None, path
    for value in (None, 1, True, [str(inside)], {}, str(inside).encode(), inside):
        assert uploads.find(value) is None, value


def test_old_files_are_deleted_and_nothing_else(uploads, tmp_path):
    example = write(uploads, "example/photo.jpg", age=9 * KEPT_SECONDS)
    uploads.keep_present()
    old = write(uploads, "old/photo.jpg", age=KEPT_SECONDS + 5)
    partial = write(uploads, "tmpabc", age=KEPT_SECONDS + 5)
    shared = write(uploads, "shared/old.jpg", age=KEPT_SECONDS + 5)
    new = write(uploads, "shared/new.jpg", age=KEPT_SECONDS - 60)
    lock = write(uploads, LOCK, age=9 * KEPT_SECONDS)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "photo.jpg").touch()
    os.utime(outside / "photo.jpg", (0, 0))
    (uploads.folder / "linked").symlink_to(outside)
    link = uploads.folder / "shared/link"
    link.symlink_to(outside / "photo.jpg")
    os.utime(link, (0, 0), follow_symlinks=False)
    assert uploads.make_room() == {str(old), str(partial), str(shared), str(link)}
    assert example.exists()
    assert new.exists()
    assert lock.exists()
    assert (outside / "photo.jpg").exists()
    assert not old.parent.exists()


@pytest.mark.parametrize(("limit", "value"), [("MOST_FILES", 3), ("MOST_BYTES", 3500)])
def test_the_oldest_files_make_room(uploads, monkeypatch, limit, value):
    monkeypatch.setattr(module, limit, value)
    example = write(uploads, "example/photo.jpg", 100_000, age=60)
    uploads.keep_present()
    files = [write(uploads, f"{k}/photo.jpg", 1000, age=50 - k) for k in range(5)]
    uploads.make_room()
    assert [path.exists() for path in files] == [False, False, True, True, True]
    assert example.exists()
    assert uploads.make_room() == set()


def test_partial_files_free_their_space_although_they_are_open(uploads, tmp_path):
    complete, lock = write(uploads, "a/photo.jpg", 100), write(uploads, LOCK)
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"photo")
    (uploads.folder / "tmplink").symlink_to(outside)
    partial = write(uploads, "tmpabc", 5000)
    with partial.open("rb") as held:
        uploads.remove_partial()
        assert os.fstat(held.fileno()).st_size == 0
    assert not partial.exists()
    assert complete.stat().st_size == 100
    assert lock.exists()
    assert outside.read_bytes() == b"photo"


def test_files_that_vanish_meanwhile_do_no_harm(uploads, monkeypatch):
    path = write(uploads, "a/photo.jpg", age=2 * KEPT_SECONDS)
    listed = list(uploads._files())
    path.unlink()
    monkeypatch.setattr(uploads, "_files", lambda: listed)
    uploads.make_room()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_private_and_deleted_at_the_end(temporary):
    def interrupted():
        with private_folder() as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "sub").mkdir()
            (folder / "sub/photo.jpg").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(temporary.iterdir()) == []


KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from utils.page.uploads import private_folder
with private_folder() as folder:
    (folder / "photo.jpg").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_leftovers_of_a_killed_page_are_deleted(temporary):
    """Of a killed page only: not those of a running one, nor anything of somebody else."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", KILLED, str(temporary)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other,
        private_folder() as running,
    ):
        left = other.stdout.readline().strip()
        foreign = [temporary / f"{PREFIX}notes", temporary / f"{PREFIX}file", temporary / "other"]
        foreign[0].mkdir()
        (foreign[0] / "notes.txt").touch()
        foreign[1].touch()
        foreign[2].mkdir()
        (foreign[2] / LOCK).touch()
        (temporary / f"{PREFIX}link").symlink_to(foreign[2])
        with private_folder():
            assert os.path.exists(left)
        other.kill()
        other.wait()
        assert os.path.exists(f"{left}/photo.jpg")
        with private_folder():
            assert not os.path.exists(left)
            assert running.exists()
        assert (foreign[0] / "notes.txt").exists()
        assert foreign[1].exists()
        assert (foreign[2] / LOCK).exists()
