"""The download script: from a name on the command line to extracted files."""

import errno
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from config.errors import UserError
from config.files import locked
from data import download
from data.acquisition import fetch as fetch_module
from data.acquisition.archives import SOURCES, Archive, Source
from data.acquisition.fetch import fetch
from data.acquisition.unpack import UnpackError, unpack
from data.download import main, obtain
from tests.data.acquisition.test_unpack import FILES, write_zip
from tests.data.acquisition.web_server import WebServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def served(tmp_path, monkeypatch):
    """(archive, its `Served`), and the name "set" for it on the command line."""
    content = write_zip(tmp_path / "set.zip", FILES).read_bytes()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with WebServer() as server:
        url, behaviour = server.add("set.zip", content)
        archive = Archive(
            file="set.zip",
            urls=(url,),
            folder="raw",
            members=("set/*.txt",),
            n_files=2,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            page="https://example.org",
        )
        monkeypatch.setitem(SOURCES, "set", Source("a set", (archive,), "prepare it"))
        yield archive, behaviour


def run(tmp_path, *options):
    return main([*options, "--output", str(tmp_path / "data")])


def test_a_set_is_downloaded_once(served, tmp_path, capsys):
    _, behaviour = served
    assert run(tmp_path, "set") == 0
    assert (tmp_path / "data/raw/set/deep/b.txt").read_bytes() == b"two"
    assert not (tmp_path / "data/downloads/set.zip").exists()
    printed = capsys.readouterr().out
    assert f"set.zip: 2 files (6 bytes) → {tmp_path / 'data/raw'}\n" in printed
    assert "next: prepare it\n" in printed
    assert run(tmp_path, "set", "set") == 0
    assert capsys.readouterr().out.startswith("set.zip: all files exist in ")
    assert len(behaviour.asked) == 1


def test_the_archive_may_be_kept(served, tmp_path):
    archive, behaviour = served
    assert run(tmp_path, "set", "--keep") == 0
    assert (tmp_path / "data/downloads/set.zip").stat().st_size == archive.size
    (tmp_path / "data/raw/set/a.txt").unlink()
    assert run(tmp_path, "set") == 0  # from the archive that was kept
    assert (tmp_path / "data/raw/set/a.txt").read_bytes() == b"one"
    assert len(behaviour.asked) == 1


def test_lost_files_are_downloaded_again(served, tmp_path):
    archive, _ = served
    assert run(tmp_path, "set") == 0
    (tmp_path / "data/raw/set/a.txt").write_bytes(b"")
    with pytest.raises(UnpackError, match="move it away"):
        obtain(archive, tmp_path / "data")
    (tmp_path / "data/raw/set/a.txt").unlink()
    assert run(tmp_path, "set") == 0
    assert (tmp_path / "data/raw/set/a.txt").read_bytes() == b"one"


@pytest.mark.parametrize("flat", [False, True])
def test_files_from_elsewhere_are_found(served, tmp_path, flat):
    archive, behaviour = served
    archive = replace(archive, members=("*/*.txt",), flat=flat)
    folder = tmp_path / "data/raw" / ("" if flat else "set")
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("")
    assert obtain(replace(archive, n_files=1), tmp_path / "data").endswith("so not verified)")
    assert behaviour.asked == []


def test_folders_and_partial_files_are_not_files_from_elsewhere(served, tmp_path):
    archive, _ = served
    archive = replace(archive, members=("set/*",))
    folder = tmp_path / "data/raw/set"
    (folder / "notes").mkdir(parents=True)
    (folder / f".a.txt.{'0' * 32}.tmp").write_text("")
    (folder / ".DS_Store").write_text("")
    said = obtain(replace(archive, members=("set/*", "set/deep/*")), tmp_path / "data")
    assert said.startswith("set.zip: ")
    assert "so not verified" not in said
    assert (folder / "a.txt").read_bytes() == b"one"


def test_what_a_killed_process_leaves_is_removed_or_named(served, tmp_path, capsys):
    downloads = tmp_path / "data/downloads"
    downloads.mkdir(parents=True)
    (downloads / f".set.zip.files.{'0' * 32}.tmp").write_text("3 set/a")
    assert run(tmp_path, "set") == 0
    assert sorted(path.name for path in downloads.iterdir()) == ["set.zip.files", "set.zip.lock"]
    (downloads / "set.zip").write_bytes(b"not yet deleted")
    assert run(tmp_path, "set") == 0
    assert f"{downloads / 'set.zip'} is no longer needed, delete it\n" in capsys.readouterr().out
    assert run(tmp_path, "set", "--keep") == 0
    assert "no longer needed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["downloads", "raw"])
def test_a_folder_that_cannot_be_written_names_a_way_out(
    served, tmp_path, capsys, monkeypatch, name
):
    _, behaviour = served
    create = tempfile.TemporaryFile

    def refuse(*given, dir, **options):
        if Path(dir).name == name:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))
        return create(*given, dir=dir, **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (tmp_path / "data" / name).mkdir(parents=True)
    assert run(tmp_path, "set") == 2
    said = capsys.readouterr().err
    assert f"error: {tmp_path / 'data' / name}: files cannot be created there (Read-only" in said
    assert "choose another folder" in said
    assert behaviour.asked == []


def test_an_archive_downloaded_manually_is_extracted(served, tmp_path):
    _, behaviour = served
    (tmp_path / "data/downloads").mkdir(parents=True)
    (tmp_path / "data/downloads/set.zip").write_bytes(behaviour.content)
    assert run(tmp_path, "set") == 0
    assert (tmp_path / "data/raw/set/a.txt").is_file()
    assert behaviour.asked == []


def test_a_failure_is_reported_and_the_rest_is_downloaded(served, tmp_path, capsys, monkeypatch):
    archive, _ = served
    gone = replace(archive, file="gone.zip", urls=(archive.urls[0] + ".gone",))
    monkeypatch.setitem(SOURCES, "gone", Source("gone", (gone,), "never"))
    assert run(tmp_path, "gone", "set") == 2
    printed = capsys.readouterr()
    assert "error: gone.zip could not be downloaded:" in printed.err
    assert "never" not in printed.out
    assert (tmp_path / "data/raw/set/a.txt").is_file()


def test_a_hostile_archive_is_refused(served, tmp_path, capsys, monkeypatch):
    archive, behaviour = served
    evil = write_zip(tmp_path / "evil.zip", FILES | {"../../outside.txt": b"evil"}).read_bytes()
    behaviour.content = evil
    monkeypatch.setitem(
        SOURCES, "set", Source("", (replace(archive, size=None, sha256=None),), "never")
    )
    assert run(tmp_path, "set") == 2
    assert 'refused, since its member "../../outside.txt"' in capsys.readouterr().err
    assert os.listdir(tmp_path / "data/raw") == [".set.zip.lock"]
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_folder_in_the_place_of_the_record_is_named_before_the_download(served, tmp_path, capsys):
    _, behaviour = served
    record = tmp_path / "data/downloads/set.zip.files"
    record.mkdir(parents=True)
    assert run(tmp_path, "set") == 2
    assert f"{record} is a folder, in the place of a file" in capsys.readouterr().err
    assert behaviour.asked == []


def test_an_interruption_says_how_to_resume(served, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "obtain", interrupted)
    assert run(tmp_path, "set") == 130
    assert "run the same command to resume" in capsys.readouterr().err


def test_a_disk_that_fills_up_during_a_download_keeps_what_arrived(
    served, tmp_path, small_disk, capsys, monkeypatch
):
    archive, behaviour = served
    files = {"set/a.txt": random.Random(0).randbytes(700_000), "set/b.txt": b"two"}
    content = behaviour.content = write_zip(tmp_path / "large.zip", files).read_bytes()
    archive = replace(archive, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(SOURCES, "set", Source("a set", (archive,), ""))
    disk = small_disk(2_000_000)
    (disk / "other").write_bytes(bytes(1_500_000))
    # As if the other file had been written after the check.
    monkeypatch.setattr(fetch_module, "check_free_space", lambda *_: None)
    assert main(["set", "--output", str(disk)]) == 2
    assert f"error: {disk}/downloads/set.zip.part: needs 70" in capsys.readouterr().err
    arrived = (disk / "downloads/set.zip.part").stat().st_size
    assert arrived > 100_000
    (disk / "other").unlink()
    assert main(["set", "--output", str(disk)]) == 0
    assert behaviour.asked == ["", f"bytes={arrived}-"]
    assert (disk / "raw/set/a.txt").read_bytes() == files["set/a.txt"]


def test_two_processes_do_not_download_the_same_archive_at_once(served, tmp_path):
    archive, behaviour = served
    with (
        locked(tmp_path / "data/downloads/set.zip.lock", "taken"),
        pytest.raises(UserError, match="another process is downloading it"),
    ):
        obtain(archive, tmp_path / "data")
    assert behaviour.asked == []


def test_two_archives_are_not_extracted_to_the_same_folder_at_once(
    served, tmp_path, capsys, monkeypatch
):
    archive, _ = served
    (tmp_path / "raw").mkdir()
    outputs, together = [tmp_path / "a", tmp_path / "b"], threading.Barrier(2)
    for output in outputs:
        output.mkdir()
        (output / "raw").symlink_to(tmp_path / "raw")
    at_once, most = 0, 0

    def fetch_together(*arguments):
        path = fetch(*arguments)
        together.wait(30)
        return path

    def unpack_slowly(*arguments):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.3)
        files = unpack(*arguments)
        at_once -= 1
        return files

    monkeypatch.setattr(download, "fetch", fetch_together)
    monkeypatch.setattr(download, "unpack", unpack_slowly)
    with ThreadPoolExecutor(2) as threads:
        said = list(threads.map(lambda output: obtain(archive, output), outputs))
    assert [text.startswith("set.zip: 2 files") for text in said] == [True, True]
    assert most == 1
    assert "set.zip: waiting for another process to extract it to " in capsys.readouterr().out


@pytest.mark.parametrize("record", [b"", b"3 set/a.txt\n", b"x set/a.txt\n", b"\xff"])
def test_a_damaged_record_is_not_taken_for_complete_files(served, tmp_path, record):
    assert run(tmp_path, "set") == 0
    (tmp_path / "data/downloads/set.zip.files").write_bytes(record)
    (tmp_path / "data/raw/set/deep/b.txt").unlink()
    assert run(tmp_path, "set") == 0
    assert (tmp_path / "data/raw/set/deep/b.txt").read_bytes() == b"two"


def test_an_archive_with_too_few_files_is_refused(served, tmp_path, capsys, monkeypatch):
    archive, _ = served
    few = replace(archive, n_files=3)
    monkeypatch.setitem(SOURCES, "set", Source("", (few,), "never"))
    assert run(tmp_path, "set") == 2
    assert "only 2 of the 3 files" in capsys.readouterr().err


def test_an_unknown_name_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["refcocoo"])
    assert stop.value.code == 2
    assert "refcoco+" in capsys.readouterr().err


def test_help_teaches_and_is_quick():
    begin = time.monotonic()
    command = [sys.executable, str(ROOT / "data" / "download.py"), "--help"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
    assert time.monotonic() - begin < 3  # well below one second on an idle machine
    for name in SOURCES:
        assert f"\n  {name} " in shown


def test_the_table_is_sound():
    for name, source in SOURCES.items():
        for wanted in source.downloads:
            assert len(set(wanted.urls)) == len(wanted.urls)
            assert len(wanted.urls) > 1 or name == "bert"  # which has no mirror
            assert all(url.startswith(("https://", "http://images.coco")) for url in wanted.urls)
            assert wanted.page.startswith("https://")
            assert wanted.sha256 is None or len(bytes.fromhex(wanted.sha256)) == 32
            assert not Path(wanted.folder).is_absolute()
            if isinstance(wanted, Archive):
                assert (wanted.sha256 is None) == (wanted.size is None)
            else:  # nobody publishes checksums of these
                assert wanted.most >= (wanted.about_bytes or 0)
