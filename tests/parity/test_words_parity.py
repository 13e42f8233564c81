"""Word vectors equal the published ones, for awkward words and for whole expressions."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.loading.annotations import read_annotations
from data.text.vectors import build_word_table, vocabulary_of

GOLDEN = Path(__file__).parent / "golden"
EMBED_DIM, WORD_LEN = 300, 15


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A blank English pipeline with the fixture's vectors, saved."""
    import spacy

    with np.load(GOLDEN / "data_fixture" / "tiny_vectors.npz") as file:
        words, vectors = file["words"], file["vectors"]
    nlp = spacy.blank("en")
    for word, vector in zip(words, vectors, strict=True):
        nlp.vocab.set_vector(str(word), vector)
    folder = tmp_path_factory.mktemp("pipeline")
    nlp.to_disk(folder)
    return str(folder)


@pytest.fixture(scope="module")
def glove(tmp_path_factory):
    """The same vectors as GloVe text."""
    with np.load(GOLDEN / "data_fixture" / "tiny_vectors.npz") as file:
        words, vectors = file["words"], file["vectors"]
    path = tmp_path_factory.mktemp("glove") / "vectors.txt"
    path.write_text(
        "".join(
            f"{word} {' '.join(map(str, vector))}\n"
            for word, vector in zip(words, vectors, strict=True)
        )
    )
    return str(path)


def test_awkward_words_from_spacy(pipeline):
    with np.load(GOLDEN / "golden_words.npz") as file:
        words, expected = file["words"].tolist(), file["vectors"]
    table = build_word_table(pipeline, words, EMBED_DIM)
    for word, vector in zip(words, expected, strict=True):
        got = table.lookup(table.encode(word, 1))[0]
        np.testing.assert_array_equal(got, vector, err_msg=word)


def test_awkward_words_are_split_alike():
    import spacy

    golden = json.loads((GOLDEN / "golden_words.json").read_text())
    tokenizer = spacy.blank("en").tokenizer
    for word, expected in zip(golden["words"], golden["spacy_tokens"], strict=True):
        assert [token.text for token in tokenizer(word)] == expected


def test_glove_text_differs_only_where_lower_case_helps(glove):
    with np.load(GOLDEN / "golden_words.npz") as file:
        words, expected = file["words"].tolist(), file["vectors"]
    table = build_word_table(glove, words, EMBED_DIM)
    differing = {
        word
        for word, vector in zip(words, expected, strict=True)
        if not np.array_equal(table.lookup(table.encode(word, 1))[0], vector)
    }
    assert differing <= {"DOG", "C-shaped"}


def test_expressions(pipeline):
    referents = read_annotations(GOLDEN / "data_fixture" / "lines.txt")
    table = build_word_table(pipeline, vocabulary_of(referents), EMBED_DIM)
    with np.load(GOLDEN / "golden_data.npz") as golden:
        for k, referent in enumerate(referents):
            ids = np.stack([table.encode(e, WORD_LEN) for e in referent.expressions])
            np.testing.assert_array_equal(table.lookup(ids), golden[f"wordvecs_{k}"])
