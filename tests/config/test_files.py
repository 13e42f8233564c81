"""Atomic writes, locks and checks of free space."""

import errno
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from config.errors import FolderError, NoSpaceError, UserError
from config.files import (
    bytes_text,
    check_folder,
    check_free_space,
    file_sha256,
    first_free,
    free_bytes,
    is_unchanged,
    locked,
    make_folder,
    numbered,
    remove_partial_files,
    write_bytes,
    write_text,
    written_atomically,
)


def test_a_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with written_atomically(path) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_interruption_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def interrupted():
        with written_atomically(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_replaces_nothing(tmp_path, monkeypatch, has_links):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.bin"
    write_bytes(path, b"first", replace=False)
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for taken in (path, tmp_path / "link"):
        with pytest.raises(FileExistsError) as caught:
            write_bytes(taken, b"second", replace=False)
        assert caught.value.filename == str(taken)
    assert path.read_bytes() == b"first"
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "link"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match=f"^{tmp_path}/file is not a folder; choose another fo"):
        make_folder(tmp_path / "file")
    inside = tmp_path / "file" / "a" / "b"
    message = f"^{tmp_path}/file is not a folder, so {inside} cannot be created; choose another"
    for write in (write_text, locked):
        with pytest.raises(FolderError, match=message):
            write(inside / "x", "text").__enter__()


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path, monkeypatch):
    asked = []
    usage = shutil.disk_usage(tmp_path)._replace(free=123)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: asked.append(folder) or usage)
    assert free_bytes(tmp_path / "not" / "yet") == 123
    assert free_bytes(tmp_path) == 123
    monkeypatch.chdir(tmp_path)
    assert free_bytes("new") == 123
    assert asked == [tmp_path] * 3


def test_text_is_written_in_utf_8_as_it_stands(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "é → 猫\r\n")
    assert path.read_bytes() == "é → 猫\r\n".encode()
    write_text(path, "")
    assert path.read_bytes() == b""
    assert os.listdir(path.parent) == ["a.txt"]


def test_free_space_is_checked_before_writing(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_500_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    folder = tmp_path / "new"
    check_free_space(folder, 1_500_000, "train2014.zip", "choose another --output")
    with pytest.raises(NoSpaceError) as caught:
        check_free_space(folder, 13_500_000_000, "train2014.zip", "choose another --output")
    assert str(caught.value) == (
        f"train2014.zip needs 13.5 GB and {folder} has 1.5 MB free: choose another --output"
    )
    assert not folder.exists()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.5e6, "2.5 MB"), (1.35e10, "13.5 GB")],
)
def test_bytes_text(count, text):
    assert bytes_text(count) == text


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(small_disk):
    folder = small_disk(1_000_000)
    path = folder / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(NoSpaceError, match=r"a\.bin: needs 2\.0 MB, and the disk is full") as full:
        write_bytes(path, bytes(2_000_000), durable=True)
    assert f"({bytes_text(free_bytes(folder))} free)" in str(full.value)
    assert free_bytes(folder) > 500_000
    assert path.read_bytes() == b"old"
    assert os.listdir(folder) == ["a.bin"]


def test_a_disk_without_room_for_another_file_is_not_called_full(small_disk):
    disk = small_disk(1_000_000)
    subprocess.run(["mount", "-o", "remount,nr_inodes=3", str(disk)], check=True)
    for name in ("a", "b"):
        write_bytes(disk / name, b"")
    with pytest.raises(NoSpaceError, match=r"c: the disk has no room for more files, although"):
        write_bytes(disk / "c", bytes(10))


def test_a_full_disk_is_an_error_of_the_system_too(small_disk):
    with pytest.raises(OSError, match="the disk is full"):
        write_bytes(small_disk(100_000) / "a.bin", bytes(200_000))


HOLD = """
from config.files import locked
with locked({path!r}, "taken"):
    print("held", flush=True)
    input()
"""


def other_process(path):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(path=path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_second_process_gets_the_message(tmp_path):
    path = str(tmp_path / "new" / "lock")
    with other_process(path) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="taken"), locked(path, "taken"):
            pass
        other.kill()
    with locked(path, "taken"):  # However the process ended, the lock ended with it.
        pass


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path):
    code = """
import os, sys
from config.files import written_atomically
with written_atomically(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), 9)
"""
    path = tmp_path / "a.bin"
    kept = {"a.bin", ".a.bin.notes.tmp", ".b.bin.0123456789abcdef0123456789abcdef.tmp"}
    for name in kept:
        (tmp_path / name).write_bytes(b"old")
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert len(os.listdir(tmp_path)) == 4
    remove_partial_files(path)
    assert set(os.listdir(tmp_path)) == kept
    remove_partial_files(tmp_path / "none" / "a.bin")


@pytest.mark.parametrize("call", ["fsync", "link", "unlink"])
def test_a_kill_leaves_no_name_or_a_complete_file(tmp_path, call):
    code = f"""
import os, sys
from config.files import write_bytes
os.{call} = lambda *_, **__: os.kill(os.getpid(), 9)
write_bytes(sys.argv[1], b"all", durable=True, replace=False)
"""
    path = tmp_path / "a.bin"
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert ended.returncode == -9
    assert (path.read_bytes() == b"all") if call == "unlink" else not path.exists()
    assert len(list(tmp_path.glob(".a.bin.*.tmp"))) == 1


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "others")
    with pytest.raises(UserError, match="lock is a link"), locked(tmp_path / "lock", "taken"):
        pass
    assert not (tmp_path / "others").exists()


def test_a_process_can_wait_for_a_lock(tmp_path, capsys):
    path = str(tmp_path / "lock")
    with other_process(path) as other:
        assert other.stdout.readline() == "held\n"
        release = threading.Timer(0.2, lambda: other.communicate("\n"))
        release.start()
        with locked(path, "waiting", wait=True):
            assert other.wait() == 0
        release.join()
    assert capsys.readouterr().out == "waiting\n"


@pytest.mark.parametrize("size", [0, 5, 3 << 20])
def test_the_checksum_of_a_file(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "a.bin").write_bytes(content)
    read = []
    digest = file_sha256(tmp_path / "a.bin", read.append)
    assert digest == hashlib.sha256(content).hexdigest()
    assert read == [min(done, size) for done in range(1 << 20, size + (1 << 20), 1 << 20)]


def test_a_free_path_is_taken_by_nothing_not_even_a_dangling_link(tmp_path):
    paths = [tmp_path / name for name in ("file", "folder", "link", "free", "later")]
    paths[0].touch()
    paths[1].mkdir()
    paths[2].symlink_to(tmp_path / "nowhere")
    assert first_free(iter(paths)) == tmp_path / "free"


def test_folders_without_a_name_are_numbered_beside_themselves(tmp_path, monkeypatch):
    (tmp_path / "results" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "results")
    for text in (".", "inner/.."):
        first, second, third = itertools.islice(numbered(Path(text)), 3)
        assert first == Path(text)
        assert (second, third) == (tmp_path / "results.2", tmp_path / "results.3")
    assert list(itertools.islice(numbered(Path("a/b"), "-"), 2)) == [Path("a/b"), Path("a/b-2")]
    assert list(itertools.islice(numbered(Path("/")), 2)) == [Path("/"), Path("/.2")]


@pytest.mark.parametrize("name", ["a.b", "", ".", ".."])
def test_a_number_stands_before_a_suffix(name):
    first, second = itertools.islice(numbered(Path(f"x/{name}.h5"), "-", ".h5"), 2)
    assert (first, second) == (Path(f"x/{name}.h5"), Path(f"x/{name}-2.h5"))


def test_only_the_file_itself_with_its_content_is_unchanged(tmp_path):
    path, link = tmp_path / "a.bin", tmp_path / "link"
    path.write_bytes(b"content")
    link.symlink_to(path)
    digest = file_sha256(path)
    assert is_unchanged(path, digest)
    others = (link, tmp_path, tmp_path / "none", path / "none")
    assert not any(is_unchanged(other, digest) for other in others)
    path.write_bytes(b"Content")
    assert not is_unchanged(path, digest)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that refuses even root")
def test_a_folder_that_takes_no_files_is_refused(tmp_path):
    with pytest.raises(FolderError, match=r"^/proc: files cannot be created there"):
        check_folder("/proc/results")
    with pytest.raises(FileNotFoundError, match="'/proc/x'"):
        write_text("/proc/x", "")
    check_folder(tmp_path / "sub")
    assert list(tmp_path.iterdir()) == []
