"""Expressions to word vectors, from GloVe files and spaCy pipelines."""

import codecs
import contextlib
import gzip
import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from config.errors import UserError
from data.loading.annotations import Referent
from data.text.vectors import build_word_table, tokenize, vocabulary_of
from tests.limits import memory_within

ROOT = Path(__file__).resolve().parents[3]
VECTORS = {
    "the": (1, 2, 3),
    "dog": (4, 5, 6),
    "left": (7, 8, 9),
    "-": (0.5, -0.25, 1e-3),
    "shirt": (3, 3, 3),
    "Paris": (9, 9, 9),
    "paris": (2, 2, 2),
}
TEXT = "".join(f"{word} {' '.join(map(str, v))}\n" for word, v in VECTORS.items()).encode()


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(TEXT)
    return path


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A spaCy pipeline with the same vectors, as a folder and as an installed package."""
    import spacy

    nlp = spacy.blank("en", meta={"name": "tiny_words", "version": "0.0.1"})
    for word, vector in VECTORS.items():
        nlp.vocab.set_vector(word, np.array(vector, np.float32))
    site = tmp_path_factory.mktemp("site")
    package = site / "en_tiny_words"
    folder = package / "en_tiny_words-0.0.1"
    package.mkdir()
    nlp.to_disk(folder)
    (package / "meta.json").write_text((folder / "meta.json").read_text())
    (package / "__init__.py").write_text(
        "from spacy.util import load_model_from_init_py\n"
        "def load(**overrides):\n"
        "    return load_model_from_init_py(__file__, **overrides)\n"
    )
    (site / "en_tiny_words-0.0.1.dist-info").mkdir()
    (site / "en_tiny_words-0.0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: en_tiny_words\nVersion: 0.0.1\n"
    )
    return folder


def vector(table, word):
    return table.lookup(table.encode(word, 1))[0].tolist()


def test_expressions_are_split_at_whitespace():
    assert tokenize(" Man's  red t-shirt, ") == ["Man's", "red", "t-shirt,"]


def test_the_vocabulary_is_sorted_and_has_every_word_once():
    box = (0, 0, 1, 1)
    referents = [Referent("a", box, 0, 1, ("b a", "C")), Referent("b", box, 0, 2, ("a d",))]
    assert vocabulary_of(referents) == ["C", "a", "b", "d"]


def test_the_table(glove):
    table = build_word_table(str(glove), ["the", "zzz", "dog", "the"], 3)
    assert table.vectors.dtype == np.float32
    assert table.vectors.tolist() == [[0, 0, 0], [4, 5, 6], [1, 2, 3]]
    assert table.index == {"dog": 1, "the": 2}
    assert table.unknown == ("zzz",)
    assert (table.n_unknown, table.embed_dim) == (1, 3)


def test_expressions_become_ids_and_vectors(glove):
    table = build_word_table(str(glove), ["the", "zzz", "dog"], 3)
    ids = table.encode("the zzz dog never the", 4)
    assert ids.dtype == np.int32
    assert ids.tolist() == [2, 0, 1, 0]
    assert table.encode("dog", 3).tolist() == [1, 0, 0]
    assert table.encode("", 2).tolist() == [0, 0]
    vectors = table.lookup(np.stack([ids, ids]))
    assert vectors.shape == (2, 4, 3)
    assert vectors[1, 0].tolist() == [1, 2, 3]


def test_an_empty_vocabulary(glove):
    table = build_word_table(str(glove), [], 3)
    assert table.vectors.tolist() == [[0, 0, 0]]
    assert table.n_unknown == 0


def test_glove_falls_back_to_lower_case_and_spacy_does_not(glove, pipeline):
    words = ["Dog", "DOG", "Paris", "PARIS"]
    table = build_word_table(str(glove), words, 3)
    assert [vector(table, w)[0] for w in words] == [4, 4, 9, 2]
    table = build_word_table(str(pipeline), words, 3)
    assert [vector(table, w)[0] for w in words] == [0, 0, 9, 0]
    assert table.n_unknown == 3


def test_both_split_a_word_and_average_its_parts(glove, pipeline):
    for source in (glove, pipeline):
        table = build_word_table(str(source), ["t-shirt", "dog.", "?!"], 3)
        np.testing.assert_allclose(
            vector(table, "t-shirt"), [3.5 / 3, 2.75 / 3, 3.001 / 3], rtol=1e-6
        )
        assert vector(table, "dog.") == [2, 2.5, 3]  # "." has no vector and counts as zeros
        assert table.unknown == ("?!",)


def test_an_installed_package(pipeline, monkeypatch):
    monkeypatch.syspath_prepend(str(pipeline.parents[1]))
    importlib.invalidate_caches()
    table = build_word_table("en_tiny_words", ["dog"], 3)
    assert vector(table, "dog") == [4, 5, 6]


def as_gzip(tmp_path):
    (tmp_path / "v.txt.gz").write_bytes(gzip.compress(TEXT))
    return tmp_path / "v.txt.gz"


def as_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.md", "nothing")
        archive.writestr("some/v.txt", TEXT)
    return tmp_path / "v.zip"


def as_zip_of_several(tmp_path):
    with zipfile.ZipFile(tmp_path / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v.2d.txt", "the 8 8\n")
        archive.writestr("v.3d.txt", TEXT)
        archive.writestr("__MACOSX/v.3d.txt", b"\0\0")
    return tmp_path / "v.zip"


@pytest.mark.parametrize("form", [as_gzip, as_zip, as_zip_of_several])
def test_archives(tmp_path, form):
    table = build_word_table(str(form(tmp_path)), ["the", "left"], 3)
    assert table.lookup(table.encode("the left", 2)).tolist() == [[1, 2, 3], [7, 8, 9]]


@pytest.mark.parametrize(
    "text",
    [
        b"7 3\n" + TEXT,  # the header line of word2vec
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"\n", b" \n"),
        TEXT + b"\n\n",
        TEXT.rstrip(),
        b". . . 1 1 1\nat name@domain.com 2 2 2\n" + TEXT,  # GloVe 840B: words with blanks
        b"the dog 5 5 5\n" + TEXT,
        TEXT + b"the 8 8 8\n",  # the first of two counts
        b"caf\xe9 5 5 5\n" + TEXT,  # not UTF-8
        codecs.BOM_UTF8 + TEXT,
        codecs.BOM_UTF8 + b"7 3\n" + TEXT,
        b"\0 5 5 5\n" + TEXT,
    ],
)
def test_variants_of_text_files_that_exist(glove, text):
    glove.write_bytes(text)
    table = build_word_table(str(glove), ["the", "at", "dog", "left"], 3)
    assert table.unknown == ("at",)
    assert [vector(table, w) for w in ("the", "dog", "left")] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_words_beyond_ascii(glove):
    glove.write_bytes("größe 1 1 1\n赤い 2 2 2\n".encode())
    table = build_word_table(str(glove), ["größe", "Größe", "赤い"], 3)
    assert [vector(table, w)[0] for w in ("größe", "Größe", "赤い")] == [1, 1, 2]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (TEXT + b"cat 1 2\n", r"vectors\.txt:8: expected a word and 3 numbers, found 2: .cat 1 2."),
        (TEXT + b"cat", r"vectors\.txt:8: expected a word and 3 numbers, found 0"),
        (TEXT + b"cat 1 2 3 4\n", r"vectors\.txt:8: expected a word and 3 numbers, found 4"),
        (TEXT + b"cat 1 x 3\n", r"vectors\.txt:8: expected finite numbers, found .1 x 3."),
        (TEXT + b"cat 1 2_0 3\n", r"vectors\.txt:8: expected finite numbers, found .1 2_0 3."),
        (
            TEXT + b"cow  1 2 3\n",
            r'vectors\.txt:8: single spaces must .*found "cow  1 2 3"; the file',
        ),
        (TEXT + b"cow 1  2 3\n", r"vectors\.txt:8: single spaces must separate a word and its"),
        (TEXT + b"cow  2 3\n", r"vectors\.txt:8: single spaces must separate a word and its"),
        (TEXT + b" cow 1 2 3\n", r"vectors\.txt:8: single spaces must separate a word and its"),
        (TEXT + b"cat 1 nan 3\n", r"vectors\.txt:8: expected finite numbers"),
        (TEXT + b"cat 1 inf 3\n", r"vectors\.txt:8: expected finite numbers"),
        (TEXT + b"cat 1 1e39 3\n", r"vectors\.txt:8: expected finite numbers"),
        (TEXT + b"cat 1 2\0 3\n", r"vectors\.txt:8: expected finite numbers"),
        (TEXT.decode().encode("utf-16"), r"vectors\.txt:1: expected a word and its vector"),
        (TEXT + b"x" * 2_000_000, r"vectors\.txt:8: the line has more than 1,048,576 bytes"),
        (b"some prose\n" + TEXT, r"vectors\.txt:1: expected a word and its vector.*GloVe text"),
        (b"\n" + TEXT, r"vectors\.txt:1: expected a word and its vector"),
        (b"", r"vectors\.txt: the file is empty"),
        (b"9 3\n" + TEXT, r"vectors\.txt:1: announces 9 words, but the file has 7; .* truncated"),
        (b"9 3\n", r"vectors\.txt:1: announces 9 words, but the file has 0; .* truncated"),
        (b"0 3\n", r"vectors\.txt: the file is empty"),
    ],
)
def test_damaged_text_is_named_by_line(glove, text, fault):
    glove.write_bytes(text)
    with pytest.raises(UserError, match=fault):
        build_word_table(str(glove), ["cat", "the"], 3)


def test_a_missing_number_is_noticed_even_for_a_word_that_is_not_wanted(glove):
    glove.write_bytes(TEXT + b"cat 1 2\n" + TEXT)
    with pytest.raises(UserError, match=r"vectors\.txt:8: expected a word and 3 numbers"):
        build_word_table(str(glove), ["the"], 3)


def test_truncated_and_damaged_archives(tmp_path):
    text = b"".join(b"w%d 1.%d 2 3\n" % (i, i * 7919 % 10007) for i in range(2000))
    path = tmp_path / "v.txt.gz"
    path.write_bytes(gzip.compress(text)[:-500])
    with pytest.raises(UserError, match=r"v\.txt\.gz: .* truncated .*before the end"):
        build_word_table(str(path), ["w1"], 3)
    path.write_bytes(text)
    with pytest.raises(UserError, match=r"damaged or truncated .*gzipped"):
        build_word_table(str(path), ["w1"], 3)
    path = tmp_path / "v.zip"
    path.write_bytes(b"PK\3\4 no zip")
    with pytest.raises(UserError, match=r"v\.zip: .*damaged or truncated"):
        build_word_table(str(path), ["w1"], 3)


@pytest.mark.parametrize("suffix", [".txt.gz", ".zip"])
def test_an_archive_that_expands_without_end_takes_bounded_memory(tmp_path, suffix):
    """300 MB of text without a line end, after a valid line, in 300 kB."""
    path = tmp_path / f"v{suffix}"
    with contextlib.ExitStack() as stack:
        if suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED))
            file = stack.enter_context(archive.open("v.txt", "w"))
        else:
            file = stack.enter_context(gzip.open(path, "wb"))
        file.write(TEXT)
        for _ in range(300):
            file.write(b"x" * 1_000_000)
    with (
        memory_within(30_000_000),
        pytest.raises(UserError, match=r":8: the line has more than 1,048,576 bytes"),
    ):
        build_word_table(str(path), ["the"], 3)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_expand_in_memory_at_once_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "v.zip", "w", method) as archive:
        archive.writestr("v.txt", TEXT)
    with pytest.raises(UserError, match=r'"v\.txt" is neither stored nor deflated'):
        build_word_table(str(tmp_path / "v.zip"), ["the"], 3)


def test_zips_without_a_fitting_file(tmp_path):
    path = as_zip_of_several(tmp_path)
    with pytest.raises(UserError, match=r"no files .* dimension 50 .*v\.2d\.txt \(2\), v\.3d"):
        build_word_table(str(path), ["the"], 50)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("again.3d.txt", TEXT)
    with pytest.raises(UserError, match="2 files with vectors of dimension 3"):
        build_word_table(str(path), ["the"], 3)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.bin", b"")
    with pytest.raises(UserError, match=r"contains no \.txt file"):
        build_word_table(str(path), ["the"], 3)


@pytest.mark.parametrize("make", [lambda glove: glove, lambda glove: as_gzip(glove.parent)])
def test_another_dimension_is_an_error_that_names_both(glove, pipeline, make):
    for source in (make(glove), pipeline):
        with pytest.raises(UserError, match="of dimension 3, but the config key embed_dim is 300"):
            build_word_table(str(source), ["the"], 300)


def test_a_header_of_another_dimension(glove):
    glove.write_bytes(b"7 50\n" + TEXT)
    with pytest.raises(UserError, match="vectors of dimension 50"):
        build_word_table(str(glove), ["the"], 3)


@pytest.mark.parametrize(
    ("word_embed", "way_out"),
    [
        ("data/words/none.txt", "relative paths start at"),
        ("en_core_web_none", "python -m spacy download en_core_web_none"),
        ("en_vectors_web_lg", r"glove-840b"),
    ],
)
def test_a_missing_source_says_how_to_get_it(word_embed, way_out):
    with pytest.raises(FileNotFoundError, match=f"{way_out}.*data/README.md"):
        build_word_table(word_embed, ["the"], 3)


def test_files_folders_and_packages_that_are_not_sources(tmp_path, glove):
    with pytest.raises(UserError, match=r"end with one of \.txt, \.txt\.gz, \.zip"):
        build_word_table(str(glove.rename(tmp_path / "vectors.vec")), ["the"], 3)
    with pytest.raises(UserError, match=r"meta\.json is missing"):
        build_word_table(str(tmp_path), ["the"], 3)
    with pytest.raises(UserError, match="is not a spaCy pipeline"):
        build_word_table("json", ["the"], 3)
    (tmp_path / "meta.json").write_text("[nlp\n")
    with pytest.raises(UserError, match=r"vocab/vectors: no such file"):
        build_word_table(str(tmp_path), ["the"], 3)


def test_a_pipeline_without_vectors(tmp_path):
    import spacy

    spacy.blank("en").to_disk(tmp_path / "p")
    with pytest.raises(UserError, match="has no word vectors"):
        build_word_table(str(tmp_path / "p"), ["the"], 3)


def test_expressions_are_not_words(glove):
    with pytest.raises(ValueError, match="'the dog' is not a single word"):
        build_word_table(str(glove), ["the dog"], 3)


def cache_files(folder):
    return sorted(folder.glob("words_*.npz"))


def same(a, b):
    return np.array_equal(a.vectors, b.vectors) and a.index == b.index and a.unknown == b.unknown


def test_the_cache_gives_the_same_table_without_the_source(glove, tmp_path):
    words = ["the", "größe", "dog"]
    first = build_word_table(str(glove), words, 3, cache_dir=tmp_path / "anns")
    (path,) = cache_files(tmp_path / "anns")
    # Same size and time but invalid content: reading the source again would raise an error.
    status = glove.stat()
    glove.write_bytes(b"\0" * len(TEXT))
    os.utime(glove, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = build_word_table(str(glove), reversed(words), 3, cache_dir=tmp_path / "anns")
    assert same(first, again)
    assert cache_files(tmp_path / "anns") == [path]


def test_a_cached_table_needs_no_spacy(glove, pipeline, tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from data.text.vectors import build_word_table\n"
        "for source in sys.argv[3:]:\n"
        "    build_word_table(source, ['the', 'dog'], 3, cache_dir=sys.argv[2])\n"
        "assert 'spacy' not in sys.modules\n"
    )
    sources = [str(glove), str(pipeline)]
    for source in sources:
        build_word_table(source, ["the", "dog"], 3, cache_dir=tmp_path)
    subprocess.run([sys.executable, "-c", script, str(ROOT), str(tmp_path), *sources], check=True)


def test_the_cache_is_not_used_if_anything_has_changed(glove, tmp_path):
    words = ["the", "dog"]
    build_word_table(str(glove), words, 3, cache_dir=tmp_path)
    build_word_table(str(glove), [*words, "left"], 3, cache_dir=tmp_path)
    assert len(cache_files(tmp_path)) == 2
    glove.write_bytes(TEXT.replace(b"the 1", b"the 8"))
    assert vector(build_word_table(str(glove), words, 3, cache_dir=tmp_path), "the") == [8, 2, 3]
    status = glove.stat()
    glove.write_bytes(TEXT.replace(b"the 1", b"the 9"))  # same size, later
    os.utime(glove, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert vector(build_word_table(str(glove), words, 3, cache_dir=tmp_path), "the") == [9, 2, 3]
    with pytest.raises(UserError, match="embed_dim"):
        build_word_table(str(glove), words, 4, cache_dir=tmp_path)


def test_a_changed_pipeline_is_read_again(pipeline, tmp_path):
    import spacy

    nlp = spacy.load(pipeline)
    nlp.to_disk(tmp_path / "p")
    build_word_table(str(tmp_path / "p"), ["dog"], 3, cache_dir=tmp_path)
    nlp.vocab.set_vector("dog", np.ones(3, np.float32))
    nlp.to_disk(tmp_path / "p")
    table = build_word_table(str(tmp_path / "p"), ["dog"], 3, cache_dir=tmp_path)
    assert vector(table, "dog") == [1, 1, 1]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def overwrite(path):
    path.write_bytes(b"garbage")


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[200] ^= 255  # within the vectors; the zip's checksum sees it
    path.write_bytes(content)


def other_table(path):
    np.savez(path, vectors=np.zeros((1, 3), np.float32))


def of_another_source(path):
    with np.load(path) as file:
        content = dict(file)
    content["key"] = np.frombuffer(b"{}", np.uint8)
    np.savez(path, **content)


def other_shape(path):
    with np.load(path) as file:
        content = dict(file)
    content["vectors"] = content["vectors"][:-1]
    np.savez(path, **content)


@pytest.mark.parametrize(
    "damage", [truncate, overwrite, empty, flip, other_table, of_another_source, other_shape]
)
def test_a_damaged_cache_is_computed_again(glove, tmp_path, caplog, damage):
    first = build_word_table(str(glove), ["the", "dog"], 3, cache_dir=tmp_path)
    (path,) = cache_files(tmp_path)
    good = path.read_bytes()
    damage(path)
    assert path.read_bytes() != good
    assert same(build_word_table(str(glove), ["the", "dog"], 3, cache_dir=tmp_path), first)
    assert "is computed again" in caplog.text
    caplog.clear()
    assert same(build_word_table(str(glove), ["the", "dog"], 3, cache_dir=tmp_path), first)
    assert not caplog.text


def test_a_cache_that_cannot_be_written_is_not_an_error(glove, tmp_path, caplog):
    (tmp_path / "file").write_text("a file where the folder should be")
    table = build_word_table(str(glove), ["dog"], 3, cache_dir=tmp_path / "file")
    assert vector(table, "dog") == [4, 5, 6]
    assert "cannot be kept" in caplog.text
