"""Saved spaCy pipelines from strangers: only numbers are read, and damage is a sentence."""

import gc
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from config.errors import UserError
from data.text.vectors import build_word_table

WORDS = {"dog": (1, 2, 3), "left": (4, 5, 6), "-": (7, 8, 9)}


@pytest.fixture
def folder(tmp_path):
    import spacy

    nlp = spacy.blank("en")
    for word, vector in WORDS.items():
        nlp.vocab.set_vector(word, np.array(vector, np.float32))
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def read(folder, words=("dog", "left-dog", "cat")):
    return build_word_table(str(folder), words, 3)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_vectors_are_those_of_spacy(folder):
    import spacy

    table, vocabulary = read(folder), spacy.load(folder).vocab
    np.testing.assert_array_equal(table.vectors[table.index["dog"]], vocabulary["dog"].vector)
    assert table.vectors[table.index["left-dog"]].tolist() == [4, 5, 6]
    assert table.unknown == ("cat",)


def test_nothing_of_a_folder_runs(folder, tmp_path):
    import spacy

    ran = []

    @spacy.registry.callbacks("tests.trace")
    def trace():
        ran.append(True)
        return lambda language: language

    expected, payload = read(folder), pickle.dumps(Payload(tmp_path / "it ran"))
    config = (folder / "config.cfg").read_text()
    call = '[nlp.before_creation]\n@callbacks = "tests.trace"\n\n[components]\n'
    config = config.replace("before_creation = null\n", "").replace("[components]\n", call)
    (folder / "config.cfg").write_text(config)
    spacy.load(folder)
    assert ran.pop()  # What a config names is called by spacy.load.
    for name in ("tokenizer", "vocab/lookups.bin", "vocab/strings.json", "config.cfg"):
        (folder / name).write_bytes(payload)
    result = read(folder)
    assert np.array_equal(result.vectors, expected.vectors)
    assert result.index == expected.index
    assert not ran
    assert not (tmp_path / "it ran").exists()


def test_a_pattern_that_takes_forever_is_not_used(folder):
    import spacy
    from spacy.util import compile_prefix_regex

    nlp = spacy.load(folder)
    nlp.tokenizer.prefix_search = compile_prefix_regex([r"(a+)+\$"]).search
    nlp.tokenizer.to_disk(folder / "tokenizer")
    begin = time.monotonic()
    assert read(folder, ["a" * 60, "dog"]).unknown == ("a" * 60,)
    assert time.monotonic() - begin < 20  # The pattern needs 2 ** 60 steps.


def save(folder, array, **options):
    with (folder / "vocab" / "vectors").open("wb") as file:
        np.save(file, array, **options)


def lie_about_the_shape(folder):
    with (folder / "vocab" / "vectors").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**10, 3)}
        np.lib.format.write_array_header_1_0(file, header)


DAMAGES = {
    "pickled": lambda f: save(f, np.array([[Payload(f)]], object), allow_pickle=True),
    "shape": lambda f: save(f, np.zeros((3, 3, 3), np.float32)),
    "integers": lambda f: save(f, np.zeros((3, 3), np.int64)),
    "no numbers": lambda f: save(f, np.full((3, 3), np.nan, np.float32)),
    "fewer rows": lambda f: save(f, np.zeros((1, 3), np.float32)),
    "lying": lie_about_the_shape,
    "garbage": lambda f: (f / "vocab/vectors").write_bytes(b"\x93NUMPY\x01\x00\xff\xff{"),
    "empty": lambda f: (f / "vocab/vectors").write_bytes(b""),
    "missing": lambda f: (f / "vocab/vectors").unlink(),
    "no rows": lambda f: (f / "vocab/key2row").unlink(),
    "rows": lambda f: (f / "vocab/key2row").write_bytes(b"\xdf\xff\xff\xff\xff"),
    "row list": lambda f: (f / "vocab/key2row").write_bytes(b"\x93\x01\x02\x03"),
    "row text": lambda f: (f / "vocab/key2row").write_bytes(b"\x81\xa1a\xa1b"),
    "row nested": lambda f: (f / "vocab/key2row").write_bytes(b"\xdd\x00\x00\x10\x00" * 4000),
    "floret": lambda f: (f / "vocab/vectors.cfg").write_text('{"mode": "floret"}'),
    "no language": lambda f: (f / "meta.json").write_text('{"lang": "../evil"}'),
    "unknown language": lambda f: (f / "meta.json").write_text('{"lang": "qqq"}'),
    "list": lambda f: (f / "meta.json").write_text("[]"),
    "deep": lambda f: (f / "meta.json").write_text("[" * 100_000),
    "large": lambda f: (f / "meta.json").write_text(" " * 17_000_000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_a_sentence_that_names_the_file(folder, damage):
    DAMAGES[damage](folder)
    with pytest.raises(UserError, match=str(folder)):
        read(folder)
    assert gc.isenabled()


def test_a_pipeline_of_another_language_is_split_by_its_rules(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"lang": "de"}))
    assert read(folder).vectors[1].tolist() == [1, 2, 3]
