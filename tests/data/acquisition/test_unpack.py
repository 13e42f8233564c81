"""Extraction of zip archives, intact, damaged and hostile ones."""

import contextlib
import errno
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from config.errors import NoSpaceError
from data.acquisition import unpack as unpack_module
from data.acquisition.unpack import MAX_EXPANSION, UnpackError, unpack
from tests.limits import memory_within

ROOT = Path(__file__).resolve().parents[3]

FILES = {"set/a.txt": b"one", "set/deep/b.txt": b"two", "set/c.bin": b"three"}


def write_zip(path, files, kind=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # the constructor cuts names to what is harmless
            if kind is not None and content == b"target":
                info.external_attr = kind << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


@pytest.fixture
def pack(tmp_path):
    """A function that packs files into a zip archive."""
    return lambda files, **kind: write_zip(tmp_path / "a.zip", files, **kind)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_wanted_files_are_written_and_the_rest_is_not(pack, tmp_path):
    path = pack(
        FILES | {"set/": b"", "other.txt": b"", "__MACOSX/set/._a.txt": b"", "set/._x.txt": b""}
    )
    assert unpack(path, tmp_path / "new/out", ("set/*.txt",)) == {
        "set/a.txt": 3,
        "set/deep/b.txt": 3,
    }
    assert contents(tmp_path / "new/out") == {"set/a.txt": b"one", "set/deep/b.txt": b"two"}


def test_flat_leaves_out_folders_and_refuses_two_files_of_one_name(pack, tmp_path):
    path = pack(FILES)
    assert unpack(path, tmp_path / "out", ("*",), flat=True) == {
        "a.txt": 3,
        "b.txt": 3,
        "c.bin": 5,
    }
    path = pack(FILES | {"set/other/a.txt": b"four"})
    with pytest.raises(UnpackError, match=r'two members for the file "a\.txt"'):
        unpack(path, tmp_path / "out", ("*.txt",), flat=True)


def test_extraction_resumes_and_leaves_other_files_alone(pack, tmp_path):
    path, out = pack(FILES), tmp_path / "out"
    (out / "set").mkdir(parents=True)
    (out / "set/a.txt").write_bytes(FILES["set/a.txt"])
    written = (out / "set/a.txt").stat().st_ino
    unpack(path, out, ("*",))
    assert contents(out) == FILES
    assert (out / "set/a.txt").stat().st_ino == written
    for own in (b"my own notes", b"ONE", bytes(3)):  # Two of them have the right size.
        (out / "set/a.txt").write_bytes(own)
        with pytest.raises(UnpackError, match=r"a\.txt exists and is not the file of the"):
            unpack(path, out, ("*",))
        assert (out / "set/a.txt").read_bytes() == own


def test_a_dangling_link_in_the_place_of_a_file_is_not_replaced(pack, tmp_path):
    link = tmp_path / "out/set/a.txt"
    link.parent.mkdir(parents=True)
    link.symlink_to("nowhere")
    with pytest.raises(UnpackError, match=r"a\.txt exists and is not the file of the"):
        unpack(pack(FILES), tmp_path / "out", ("*",))
    assert os.readlink(link) == "nowhere"


def test_a_name_that_ends_at_a_nul_is_refused(pack, tmp_path):
    with pytest.raises(UnpackError, match=r'the name "set/evil.*" contains NUL'):
        unpack(pack(FILES | {"set/evil\0.txt": b"four"}), tmp_path / "out", ("*",))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt",
        "set/../../outside.txt",
        "/outside.txt",
        "//host/share/outside.txt",
        "..\\outside.txt",
        "\\outside.txt",
        "C:\\outside.txt",
        "C:outside.txt",
    ],
)
def test_a_member_that_leads_outside_is_refused_and_nothing_is_written(pack, tmp_path, name):
    path = pack(FILES | {name: b"evil"})
    with pytest.raises(UnpackError, match=r"refused, since its member .*outside the target"):
        unpack(path, tmp_path / "x/y/out", ("*",))
    assert not (tmp_path / "x").exists()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        (stat.S_IFLNK | 0o777, "a link"),
        (stat.S_IFIFO | 0o644, "a special file"),
        (stat.S_IFCHR | 0o644, "a special file"),
    ],
)
def test_links_and_special_files_are_refused(pack, tmp_path, kind, description):
    path = pack(FILES | {"set/link": b"target"}, kind=kind)
    with pytest.raises(UnpackError, match=f'"set/link" is {description}'):
        unpack(path, tmp_path / "out", ("*.txt",))
    assert not (tmp_path / "out").exists()


def test_a_file_without_a_name_is_refused_and_the_root_folder_is_not(pack, tmp_path):
    path = pack({"./": b"", "./a.txt": b"one"})
    assert unpack(path, tmp_path / "out", ("a.txt",)) == {"a.txt": 3}
    for name in (".", ""):
        with pytest.raises(UnpackError, match="refused"):
            unpack(pack({name: b"x"}), tmp_path / "out", ("*",))


def test_an_archive_without_what_is_wanted_says_what_it_holds(pack, tmp_path):
    with pytest.raises(
        UnpackError, match=r'no member matches photos/\*; it contains "set/a\.txt", "set/d'
    ):
        unpack(pack(FILES), tmp_path / "out", ("photos/*",))
    with pytest.raises(UnpackError, match="it contains nothing"):
        unpack(write_zip(tmp_path / "b.zip", {}), tmp_path / "out", ("*",))


def test_damaged_archives_are_named_and_leave_no_broken_file(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.txt": random.Random(0).randbytes(100_000)})
    content = bytearray(path.read_bytes())
    content[50] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UnpackError, match=r"a\.zip: damaged"):
        unpack(path, tmp_path / "out", ("*",))
    assert contents(tmp_path / "out") == {}
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UnpackError, match=r"a\.zip: not a zip archive, or truncated"):
        unpack(path, tmp_path / "out", ("*",))
    assert contents(tmp_path / "out") == {}
    (tmp_path / "c.zip").write_text("<html>")
    with pytest.raises(UnpackError, match="not a zip archive"):
        unpack(tmp_path / "c.zip", tmp_path / "out", ("*",))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_archive_of_any_kind_is_named(tmp_path, compression):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("größe.txt", b"abc" * 100)
    good = path.read_bytes()
    for place in range(0, len(good) - 22, 3):  # the last 22 bytes end the directory
        damaged = bytearray(good)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with contextlib.suppress(UnpackError):  # and no other error
            unpack(path, tmp_path / "out", ("*",))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_a_member_before_the_beginning_of_the_archive_is_damage(pack, tmp_path):
    path = pack(FILES)
    content = bytearray(path.read_bytes())
    content[-6] += 10  # The place of the directory.
    path.write_bytes(content)
    with pytest.raises(UnpackError, match=r"a\.zip: damaged or not readable .* download it again"):
        unpack(path, tmp_path / "out", ("*",))
    assert contents(tmp_path / "out") == {}


def test_a_fault_of_the_disk_is_no_damage_of_the_archive(pack, tmp_path, monkeypatch):
    for error in (OSError(errno.EIO, "disk"), OSError(errno.EINVAL, "name", "a.txt")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(unpack_module, "_extract", fail)
        with pytest.raises(OSError, match=r"disk|name") as caught:
            unpack(pack(FILES), tmp_path / "out", ("*",))
        assert caught.value is error


def test_a_zip_with_a_password_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.txt": b"one"})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flags in front of the member and in the directory at the end
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UnpackError, match="password"):
        unpack(path, tmp_path / "out", ("*",))


def test_an_archive_that_does_not_fit_on_the_disk_is_refused(pack, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoSpaceError, match=r"a\.zip, extracted, needs 11 bytes and .* 10 bytes"):
        unpack(pack(FILES), tmp_path / "out", ("*",))
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_keeps_whole_files_and_extraction_resumes(
    pack, tmp_path, small_disk, monkeypatch
):
    files = {f"set/{i}.jpg": random.Random(i).randbytes(100_000) for i in range(4)}
    path, disk = pack(files), small_disk(900_000)
    (disk / "other").write_bytes(bytes(600_000))
    # As if the other file had been written after the check.
    monkeypatch.setattr(unpack_module, "check_free_space", lambda *_: None)
    with pytest.raises(NoSpaceError, match=r"set/\d\.jpg: the disk is full .*run the same command"):
        unpack(path, disk / "out", ("*",))
    kept = contents(disk / "out")
    assert 0 < len(kept) < 4
    assert kept.items() <= files.items()
    (disk / "other").unlink()
    unpack(path, disk / "out", ("*",))
    assert contents(disk / "out") == files


def test_a_killed_extraction_resumes_and_leaves_no_partial_file(pack, tmp_path):
    path, out = pack(FILES), tmp_path / "out"
    script = (
        "import os, shutil, signal, sys\n"
        "from data.acquisition.unpack import unpack\n"
        "copy = shutil.copyfileobj\n"
        "def killed(source, file, size):\n"
        "    if source.name == 'set/deep/b.txt':\n"
        "        file.write(source.read(1)); file.flush()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    copy(source, file, size)\n"
        "shutil.copyfileobj = killed\n"
        "unpack(sys.argv[1], sys.argv[2], ('*',))\n"
    )
    command = [sys.executable, "-c", script, str(path), str(out)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    (partial,) = (out / "set/deep").iterdir()
    assert partial.read_bytes() == b"t"
    unpack(path, out, ("*",))
    assert contents(out) == FILES


def test_too_few_files_are_an_incomplete_archive(pack, tmp_path):
    with pytest.raises(UnpackError, match="only 3 of the 4 files; it is incomplete"):
        unpack(pack(FILES), tmp_path / "out", ("*",), n_files=4)
    assert not (tmp_path / "out").exists()


def test_archives_that_expand_implausibly_are_refused(pack, tmp_path):
    path = pack({"a.txt": bytes(1_000_000)})
    assert path.stat().st_size * MAX_EXPANSION < 1_000_000
    with pytest.raises(UnpackError, match=r"refused, since 1\.\d kB would become 1\.0 MB"):
        unpack(path, tmp_path / "out", ("*",))
    # Many entries of one packed content count as often as they would be written.
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    entry, end = content[start:-22], bytearray(content[-22:])
    struct.pack_into("<HHI", end, 8, 50, 50, 50 * len(entry))
    entries = [entry.replace(b"a.txt", b"%05d" % i) for i in range(50)]
    path.write_bytes(content[:start] + b"".join(entries) + end)
    with pytest.raises(UnpackError, match=r"would become 50\.0 MB"):
        unpack(path, tmp_path / "out", ("*",))
    assert not (tmp_path / "out").exists()


def test_a_directory_that_lies_about_sizes_bounds_what_is_written(pack, tmp_path, monkeypatch):
    path = pack({"a.txt": bytes(50_000_000)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 1000)  # the size
    path.write_bytes(content)
    written = []

    def copy(source, file, size):
        original(source, file, size)
        written.append(file.tell())

    original = shutil.copyfileobj
    monkeypatch.setattr(shutil, "copyfileobj", copy)
    with memory_within(20_000_000), pytest.raises(UnpackError, match="damaged"):
        unpack(path, tmp_path / "out", ("*",))
    assert sum(written) <= 1000
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_expand_in_memory_are_refused(tmp_path, compression):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
        archive.writestr("a.txt", b"one")
    with pytest.raises(UnpackError, match=r'"a\.txt" is neither stored nor deflated'):
        unpack(tmp_path / "a.zip", tmp_path / "out", ("*",))


def test_names_that_would_break_the_record_are_refused(pack, tmp_path):
    with pytest.raises(UnpackError, match="contains control characters"):
        unpack(pack({"a\n0 b.txt": b"one"}), tmp_path / "out", ("*",))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("set/" + "x" * 256, "has more than 255 bytes"),
        ("set/" + "a/" * 3000 + "x", "has more than 1,000 bytes"),
        ("set/" + "\u00e9" * 128 + "/a", "has more than 255 bytes"),
        ("set/a.txt/b.txt", 'set/a.txt" is both a file and a folder'),
    ],
)
def test_names_that_no_file_can_have_are_noticed_before_anything_is_written(
    pack, tmp_path, name, message
):
    path = pack(FILES | {name: b"four"})
    with pytest.raises(UnpackError) as error:
        unpack(path, tmp_path / "out", ("set/*",))
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_a_folder_is_noticed_before_anything_is_written(pack, tmp_path):
    (tmp_path / "out/set").mkdir(parents=True)
    (tmp_path / "out/set/deep").write_text("mine")
    with pytest.raises(UnpackError, match="deep exists and is not a folder: move it away"):
        unpack(pack(FILES), tmp_path / "out", ("set/*",))
    assert contents(tmp_path / "out") == {"set/deep": b"mine"}
