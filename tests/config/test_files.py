import os
import shutil

import pytest

from config.files import free_bytes, written_atomically


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with written_atomically(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_interruption_leaves_what_was_there(tmp_path):
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


def test_room_of_a_folder_that_is_not_there_yet(tmp_path, monkeypatch):
    asked = []
    usage = shutil.disk_usage(tmp_path)._replace(free=123)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: asked.append(folder) or usage)
    assert free_bytes(tmp_path / "not" / "yet") == 123
    assert free_bytes(tmp_path) == 123
    monkeypatch.chdir(tmp_path)
    assert free_bytes("new") == 123
    assert asked == [tmp_path] * 3
