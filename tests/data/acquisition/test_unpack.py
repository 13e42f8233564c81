"""Extraction of zip archives, intact, damaged and hostile ones."""

import contextlib
import os
import shutil
import stat
import zipfile

import pytest

from config.errors import NoSpaceError
from data.acquisition.unpack import UnpackError, unpack

FILES = {"set/a.txt": b"one", "set/deep/b.txt": b"two", "set/c.bin": b"three"}


def write_zip(path, files, kind=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # the constructor cuts names to what is harmless
            if kind is not None and content == b"target":
                info.external_attr = kind << 16
            archive.writestr(info, content)
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
    with pytest.raises(UnpackError, match=r"two members for the file a\.txt"):
        unpack(path, tmp_path / "out", ("*.txt",), flat=True)


def test_extraction_resumes_and_leaves_other_files_alone(pack, tmp_path):
    path, out = pack(FILES), tmp_path / "out"
    (out / "set").mkdir(parents=True)
    (out / "set/a.txt").write_bytes(b"ONE")  # whole, by its size
    unpack(path, out, ("*",))
    assert contents(out) == FILES | {"set/a.txt": b"ONE"}
    (out / "set/a.txt").write_bytes(b"my own notes")
    with pytest.raises(UnpackError, match=r"a\.txt exists and is not the file of the"):
        unpack(path, out, ("*",))
    assert (out / "set/a.txt").read_bytes() == b"my own notes"


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
    with pytest.raises(UnpackError, match=f"'set/link' is {description}"):
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
        UnpackError, match=r"no member matches photos/\*; it contains set/a\.txt, set/d"
    ):
        unpack(pack(FILES), tmp_path / "out", ("photos/*",))
    with pytest.raises(UnpackError, match="it contains nothing"):
        unpack(write_zip(tmp_path / "b.zip", {}), tmp_path / "out", ("*",))


def test_damaged_archives_are_named_and_leave_no_broken_file(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.txt": bytes(100_000)})
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


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
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
