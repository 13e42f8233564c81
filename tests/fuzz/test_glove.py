"""Random and damaged files of word vectors: vectors, or a sentence, in bounded memory."""

import contextlib
import gzip
import io
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import UserError
from data.text.glove import read_glove
from data.text.glove_index import GloveIndex
from data.text.pipeline_vectors import open_pipeline
from tests.fuzz.mutation import damaged_bytes
from tests.limits import memory_within

WORDS = {"the", "dog", "größe", ". . .", ""}
TEXT = "5 2\nthe 1 2\ndog 0.5 -3e2\n. . . 7 8\n\ngröße 4 5\nthe 9 9\n".encode()
MEMORY = 100_000_000


def assert_vectors(found):
    for vector in found.values():
        assert vector.dtype == np.float32
        assert vector.shape == (2,)
        assert np.isfinite(vector).all()


def read(path, content):
    """Reads a file in all ways; what the index finds is what one pass finds."""
    path.write_bytes(content)
    found = None
    with memory_within(MEMORY), contextlib.suppress(UserError):
        found = read_glove(path, WORDS, 2)
        assert_vectors(found)
    if path.suffix == ".txt":
        with contextlib.suppress(UserError):
            indexed = GloveIndex(path, 2).find(WORDS)
            assert found is not None
            assert {k: v.tolist() for k, v in indexed.items()} == {
                k: v.tolist() for k, v in found.items()
            }
    return found


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbfthe 1 2\n")
@example(b"a " * 500_000)
@example(b"\n" * 500_000)
@example(b"1 " + b"9" * 1_000_000)
def test_random_bytes(tmp_path, content):
    read(tmp_path / "v.txt", content)


LINE = st.lists(
    st.sampled_from(["the", "dog", "1", "2", "nan", "1e999", "-0", "", "\t", "\0", "1_0", "é"]),
    max_size=5,
).map(" ".join)


@given(st.lists(LINE, max_size=6), st.sampled_from(["\n", "\r\n", "\r", "\x85"]))
def test_random_lines(tmp_path, lines, end):
    read(tmp_path / "v.txt", end.join(lines).encode())


@given(damaged_bytes(TEXT))
def test_damaged_text(tmp_path, content):
    read(tmp_path / "v.txt", content)


def zipped(method=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("some/größe.txt", TEXT)
        archive.writestr("v.300d.txt", b"the 1 2 3\n")
    return content.getvalue()


FILES = {
    "v.txt.gz": gzip.compress(TEXT, mtime=0),
    "v.zip": zipped(),
    "stored.zip": zipped(zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("name", FILES)
@given(st.data())
def test_damaged_archives(tmp_path, name, data):
    assert read(tmp_path / name, FILES[name]) is not None
    read(tmp_path / name, data.draw(damaged_bytes(FILES[name])))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    import spacy

    nlp = spacy.blank("en")
    for word in ("the", "dog"):
        nlp.vocab.set_vector(word, np.ones(2, np.float32))
    folder = tmp_path_factory.mktemp("pipeline")
    nlp.to_disk(folder)
    return folder


@pytest.mark.parametrize(
    "name", ["meta.json", "vocab/vectors", "vocab/vectors.cfg", "vocab/key2row"]
)
@given(st.data())
def test_damaged_pipelines(pipeline, name, data):
    path = pipeline / name
    content = path.read_bytes()
    try:
        path.write_bytes(data.draw(damaged_bytes(content)))
        with memory_within(MEMORY), contextlib.suppress(UserError):
            tokenizer, find = open_pipeline(pipeline, 2)
            assert [token.text for token in tokenizer("dog.")] == ["dog", "."]
            assert find({"dog"})["dog"] is None or find({"dog"})["dog"].shape == (2,)
    finally:
        path.write_bytes(content)
