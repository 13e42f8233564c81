"""Words looked up on demand have the same vectors as in a table of the whole vocabulary."""

import gzip

import numpy as np
import pytest

from data.text import sources
from data.text import vectors as words_module
from data.text.sources import look_up
from data.text.vectors import WordSupply, build_word_table
from tests.limits import memory_within

TEXT = b"the 1 2 3\ndog 4 5 6\nleft 7 8 9\n- 0.5 -0.25 0.125\nshirt 3 3 3\nParis 9 9 9\n"
EXPRESSIONS = ["the Dog", "left t-shirt zorblax", "Paris paris"]
WORD_LEN = 4


@pytest.fixture(params=["txt", "txt.gz", "spacy"])
def source(request, tmp_path):
    path = tmp_path / f"vectors.{request.param}"
    if request.param == "spacy":
        import spacy

        nlp = spacy.blank("en")
        for line in TEXT.decode().splitlines():
            word, *numbers = line.split()
            nlp.vocab.set_vector(word, np.array(numbers, np.float32))
        nlp.to_disk(path)
    else:
        path.write_bytes(TEXT if request.param == "txt" else gzip.compress(TEXT))
    return str(path)


def test_agrees_with_a_table_of_the_whole_vocabulary(source):
    whole = build_word_table(source, {w for e in EXPRESSIONS for w in e.split()}, 3)
    supply = WordSupply(source, 3)
    for expression in EXPRESSIONS * 2:
        table = supply.table([expression])
        np.testing.assert_array_equal(
            table.lookup(table.encode(expression, WORD_LEN)),
            whole.lookup(whole.encode(expression, WORD_LEN)),
        )
        assert set(table.unknown) == set(whole.unknown) & set(expression.split())


def test_a_word_is_looked_up_once(source, monkeypatch):
    asked = []

    def look_up(words, *opened):
        asked.extend(words)
        return original(words, *opened)

    original = words_module.look_up
    monkeypatch.setattr(words_module, "look_up", look_up)
    supply = WordSupply(source, 3)
    for expression in ("the dog", "the left dog", "zorblax", "zorblax the"):
        supply.table([expression])
    assert asked == ["dog", "the", "left", "zorblax"]


def test_the_most_recently_used_words_are_kept(source):
    supply = WordSupply(source, 3, keep=2)
    supply.table(["the dog left shirt"])
    assert len(supply._vectors) == 2
    supply.table(["the"])
    supply.table(["dog"])
    assert list(supply._vectors) == ["the", "dog"]
    assert supply.table(["the dog left"]).n_unknown == 0


def test_no_words_at_all(source):
    table = WordSupply(source, 3).table([])
    assert table.vectors.shape == (1, 3)


def test_a_missing_source_is_named_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        WordSupply(str(tmp_path / "nowhere.txt"), 3)


@pytest.mark.parametrize("character", ["'", "(", "a-", "…"])
def test_long_words_are_not_split(source, character):
    """spaCy takes quadratic time for runs of punctuation: an hour for 100,000 characters."""
    word = (character * 100_000)[:100_000]
    table = WordSupply(source, 3).table([f"the {word} dog"])
    assert table.unknown == (word,)
    assert build_word_table(source, ["dog", word], 3).unknown == (word,)


def test_words_are_split_up_to_a_length():
    asked = []

    def split(word):
        asked.append(word)
        return english(word)

    import spacy

    english = spacy.blank("en").tokenizer
    split.vocab = english.vocab
    short = "-".join(["dog"] * 50)[: sources.LONGEST_SPLIT]
    long = short + "-" * (sources.LONGEST_SPLIT + 1 - len(short))
    one, whole = np.ones(3, np.float32), np.full(3, 7, np.float32)
    found = look_up(
        [short, long], split, lambda texts: {t: whole if t == long else one for t in texts}
    )
    assert asked == [short]
    np.testing.assert_array_equal(found[short], one)
    np.testing.assert_array_equal(found[long], whole)


@pytest.mark.slow
def test_splitting_words_for_ever_takes_no_memory():
    """A page for the browser splits words that strangers type."""
    import spacy

    tokenizer = spacy.blank("en").tokenizer

    def split(first, count):
        for start in range(first, first + count, 100):
            words = [f"{k:032x}" for k in range(start, start + 100)]
            look_up(words, tokenizer, dict.fromkeys)

    split(0, 5000)
    with memory_within(12_000_000):
        split(5000, 40_000)
