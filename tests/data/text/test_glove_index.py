"""An index finds the same vectors as a pass over the file, and notices changes of the file."""

import logging
import os

import numpy as np
import pytest

from config.errors import UserError
from data.text import array_cache, glove_index
from data.text.glove import read_glove
from data.text.glove_index import GloveIndex

# A word with spaces as in GloVe 840B, a repeated word, and letters of two bytes in UTF-8.
TEXT = "the 1 2 3\nüber 4 5 6\n. . . 7 8 9\n\nthe 9 9 9\ndog 0.5 -0.25 0.125\n"
WORDS = {"the", "über", ". . .", "dog", "cat"}


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for word, vector in expected.items():
        assert found[word].dtype == np.float32
        np.testing.assert_array_equal(found[word], vector)


def test_finds_the_same_as_a_pass_over_the_file(glove):
    assert_same(GloveIndex(glove, 3).find(WORDS), read_glove(glove, WORDS, 3))


def test_a_header_is_not_a_word(glove):
    glove.write_text("2 3\n" + TEXT, encoding="utf-8")
    assert_same(GloveIndex(glove, 3).find(WORDS | {"2"}), read_glove(glove, WORDS, 3))


def test_a_byte_order_mark_is_no_part_of_a_word(glove):
    glove.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert_same(GloveIndex(glove, 3).find(WORDS), read_glove(glove, WORDS, 3))
    assert GloveIndex(glove, 3).find({"the"})["the"].tolist() == [1, 2, 3]


def test_words_with_the_same_hash_are_distinguished(glove, monkeypatch):
    monkeypatch.setattr(glove_index, "_hash", lambda word: len(word) % 2)
    assert_same(GloveIndex(glove, 3).find(WORDS), read_glove(glove, WORDS, 3))


def test_the_index_of_a_small_file_is_not_kept(glove, capsys):
    GloveIndex(glove, 3)
    assert [path.name for path in glove.parent.iterdir()] == ["vectors.txt"]
    assert capsys.readouterr().err == ""


def test_a_kept_index_saves_the_pass(glove, monkeypatch, capsys):
    GloveIndex(glove, 3, kept_from_bytes=0)
    assert "index vectors.txt" in capsys.readouterr().err
    monkeypatch.setattr(glove_index, "glove_entries", None)
    assert_same(GloveIndex(glove, 3, kept_from_bytes=0).find({"dog"}), {"dog": [0.5, -0.25, 0.125]})


def test_a_changed_file_is_indexed_again(glove):
    GloveIndex(glove, 3, kept_from_bytes=0)
    glove.write_text("a 0 0 1\n" + TEXT, encoding="utf-8")
    assert_same(GloveIndex(glove, 3).find({"a"}), {"a": [0, 0, 1]})


@pytest.mark.parametrize("content", [b"", b"no archive", b"half"])
def test_a_damaged_index_is_built_again(glove, content, caplog):
    GloveIndex(glove, 3, kept_from_bytes=0)
    kept = glove.with_name("vectors.txt.index.npz")
    kept.write_bytes(kept.read_bytes()[:300] if content == b"half" else content)
    with caplog.at_level(logging.WARNING):
        found = GloveIndex(glove, 3, kept_from_bytes=0).find({"dog"})
    assert_same(found, {"dog": [0.5, -0.25, 0.125]})
    assert "vectors.txt.index.npz: cannot be reused" in caplog.text


def test_an_index_of_unexpected_arrays_is_built_again(glove, caplog):
    index = GloveIndex(glove, 3, kept_from_bytes=0)
    key = np.frombuffer(index._key.encode(), np.uint8)
    kept = glove.with_name("vectors.txt.index.npz")
    np.savez(kept, hashes=np.zeros(2, np.uint64), offsets=np.zeros(3, np.int64), key=key)
    assert "dog" in GloveIndex(glove, 3).find({"dog"})


def test_a_folder_that_cannot_be_written_costs_a_warning(glove, monkeypatch, caplog):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(array_cache, "written_atomically", refuse)
    with caplog.at_level(logging.WARNING):
        assert "dog" in GloveIndex(glove, 3, kept_from_bytes=0).find({"dog"})
    assert "cannot be kept for the next run" in caplog.text


def test_damage_is_named(glove):
    with pytest.raises(UserError, match="of dimension 3, but the config key embed_dim is 4"):
        GloveIndex(glove, 4)
    glove.write_text(TEXT + "cut 1 2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"vectors\.txt:7: expected a word and 3 numbers"):
        GloveIndex(glove, 3)
    glove.write_text(TEXT + "nan 1 2 x\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"byte \d+: expected finite numbers"):
        GloveIndex(glove, 3).find({"nan"})


def test_a_file_that_changes_in_use_is_noticed(glove):
    index = GloveIndex(glove, 3)
    size = glove.stat().st_size
    glove.write_text("x" * size)
    os.truncate(glove, size)
    with pytest.raises(UserError, match="has changed while it was in use"):
        index.find({"dog"})
