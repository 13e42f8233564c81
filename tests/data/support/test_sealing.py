"""Sealed JSON files: every change of them shows."""

import json

import pytest

from data.support.sealing import is_sealed, sealed


def test_a_sealed_file_is_recognized_until_it_changes(tmp_path):
    path, link = tmp_path / "a.json", tmp_path / "link"
    text = sealed({"name": "größe", "counts": [1, 2.5, None]}, "own")
    path.write_text(text)
    link.symlink_to(path)
    assert json.loads(text)["name"] == "größe"
    assert is_sealed(path, "own")
    assert not any(is_sealed(other, "own") for other in (link, tmp_path, tmp_path / "none"))
    assert not is_sealed(path, "other")
    for changed in (text.replace("2.5", "3.5"), text + "\n", text.replace("  ", " "), text[:-9]):
        path.write_text(changed)
        assert not is_sealed(path, "own")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"own": null}', b"{" * 99_999])
def test_other_files_are_not_sealed(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert not is_sealed(tmp_path / "a.json", "own")
