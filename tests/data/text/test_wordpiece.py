"""Expressions to word pieces: the same ids as KerasHub's tokenizer and Google's rules."""

import numpy as np
import pytest

from config.errors import UserError
from data.text import wordpiece
from data.text.wordpiece import build_word_pieces
from tests.model.text_encoders.bert_fixtures import SPECIAL, VOCABULARY, write_settings

keras_hub = pytest.importorskip("keras_hub", reason="pip install -r requirements-bert.txt")

CLS, SEP, UNKNOWN = (VOCABULARY.index(piece) for piece in ("[CLS]", "[SEP]", "[UNK]"))
EXPRESSIONS = [
    "the man",
    "leftmost red T-shirt",
    "mans, the",
    "  the   CAFÉ ",
    "",
    "Ω man",
    "[CLS] man [SEP]",
    "the red circle left of the red circle left of the man",
]
CASED = [*VOCABULARY, "The", "London", "é", "##é"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write_settings(folder)
    return build_word_pieces(folder)


def pieces(*names):
    return [VOCABULARY.index(name) for name in names]


def test_ids_by_hand(words):
    ids = words.encode("leftmost Red T-shirt", 12)
    assert ids.dtype == np.int32
    expected = pieces("[CLS]", "left", "##most", "red", "t", "-", "shirt", "[SEP]")
    assert ids.tolist() == [*expected, 0, 0, 0, 0]


def test_uncased_loses_capitals_and_accents(words):
    assert words.pieces("THE CAFÉ").tolist() == pieces("the", "cafe")


def test_pieces_are_those_of_keras_hub(words):
    reference = keras_hub.tokenizers.WordPieceTokenizer(
        vocabulary=VOCABULARY, lowercase=True, strip_accents=True
    )
    for expression in EXPRESSIONS:
        expected = np.asarray(reference(expression)).reshape(-1)
        np.testing.assert_array_equal(words.pieces(expression), expected)


@pytest.mark.parametrize("word_len", [3, 7, 20])
def test_packing_is_that_of_keras_hub(words, word_len):
    packer = keras_hub.layers.MultiSegmentPacker(
        sequence_length=word_len, start_value=CLS, end_value=SEP, pad_value=0
    )
    for expression in EXPRESSIONS:
        found = words.pieces(expression)
        expected, segments = packer((found,))
        np.testing.assert_array_equal(words.encode(expression, word_len), expected)
        assert not np.any(segments)


def test_special_pieces_cannot_be_written_into_an_expression(words):
    special = {VOCABULARY.index(piece) for piece in SPECIAL} - {UNKNOWN}
    for expression in EXPRESSIONS:
        assert not special & set(words.pieces(expression).tolist())


def test_unknown_letters_are_one_unknown_piece(words):
    assert words.pieces("Ω").tolist() == [UNKNOWN]


def test_an_empty_expression_is_cls_and_sep(words):
    assert words.encode("", 4).tolist() == [CLS, SEP, 0, 0]


def test_a_bounded_number_of_expressions_is_kept(words, monkeypatch):
    monkeypatch.setattr(wordpiece, "CACHED_EXPRESSIONS", 3)
    few = wordpiece.WordPieces(words.tokenizer)
    for number in range(9):
        few.encode(f"the man {number}", 6)
    assert few._tokenize.cache_info().currsize == 3


def test_changing_ids_in_place_does_not_affect_later_calls(words):
    first = words.encode("the man", 6)
    first[:] = -1
    assert words.encode("the man", 6).tolist() == [*pieces("[CLS]", "the", "man", "[SEP]"), 0, 0]


def test_lookup_gives_the_ids(words):
    ids = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert words.lookup(ids).dtype == np.int32
    np.testing.assert_array_equal(words.lookup(ids), ids)


def test_too_short_for_a_piece(words):
    with pytest.raises(UserError, match="word_len = 2: must be at least 3"):
        words.encode("the man", 2)


def test_cased_keeps_capitals_and_accents(tmp_path):
    write_settings(tmp_path, CASED)
    words = build_word_pieces(tmp_path)
    found = [CASED[index] for index in words.pieces("The café London")]
    assert found == ["The", "c", "##a", "##f", "##é", "London"]


@pytest.mark.parametrize("strip_accents", [True, False])
def test_a_preset_is_tokenized_according_to_its_settings(tmp_path, strip_accents):
    keras_hub.models.BertBackbone(
        vocabulary_size=len(CASED),
        num_layers=1,
        num_heads=1,
        hidden_dim=2,
        intermediate_dim=2,
        max_sequence_length=8,
    ).save_to_preset(str(tmp_path))
    tokenizer = keras_hub.models.BertTokenizer(
        CASED, lowercase=False, strip_accents=strip_accents, sequence_length=30
    )
    tokenizer.save_to_preset(str(tmp_path))
    words = build_word_pieces(tmp_path)
    expected = ["The", "cafe"] if strip_accents else ["The", "c", "##a", "##f", "##é"]
    assert [CASED[index] for index in words.pieces("The café")] == expected
