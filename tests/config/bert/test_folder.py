"""Folders with a BERT checkpoint: both formats, and errors for all that cannot be used."""

import json
import re
import sys

import pytest

from config.bert.folder import (
    MOST_VOCABULARY_BYTES,
    ORIGINAL_FILES,
    PRESET_FILES,
    import_keras_hub,
    read_bert_folder,
)
from config.errors import ConfigError
from tests.limits import memory_within
from tests.model.text_encoders.bert_fixtures import VOCABULARY, write_settings

CONFIG = {
    "vocabulary_size": len(VOCABULARY),
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "max_sequence_length": 12,
    "num_segments": 2,
    "dropout": 0.1,
}


def write_preset_settings(folder, config=CONFIG, class_name="BertBackbone", lowercase=True):
    (folder / "assets/tokenizer").mkdir(parents=True)
    (folder / "assets/tokenizer/vocabulary.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "config.json").write_text(json.dumps({"class_name": class_name, "config": config}))
    tokenizer = {"class_name": "BertTokenizer", "config": {"lowercase": lowercase}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def test_google_files_are_described(tmp_path):
    write_settings(tmp_path)
    folder = read_bert_folder(tmp_path)
    assert folder.original
    assert folder.lowercase
    assert folder.checkpoint == tmp_path / "bert_model.ckpt"
    assert folder.vocabulary == tuple(VOCABULARY)
    assert folder.architecture == {
        "vocabulary_size": len(VOCABULARY),
        "num_layers": 4,
        "num_heads": 4,
        "hidden_dim": 32,
        "intermediate_dim": 48,
        "max_sequence_length": 24,
        "num_segments": 2,
        "dropout": 0.1,
    }


@pytest.mark.parametrize("lowercase", [True, False])
def test_preset_is_described(tmp_path, lowercase):
    write_preset_settings(tmp_path, lowercase=lowercase)
    folder = read_bert_folder(tmp_path)
    assert not folder.original
    assert folder.architecture == CONFIG
    assert folder.lowercase is lowercase
    assert folder.checkpoint == tmp_path / "model.weights.h5"


@pytest.mark.parametrize(
    ("pieces", "fault"),
    [
        (["red", "red"], 'is "red", as line {} is'),
        (["", ""], 'is "", as line {} is'),
        (["red", "a\0b"], "contains NUL"),
        (["red", "é" * 129], "has more than 256 bytes"),
    ],
)
def test_word_pieces_that_no_tokenizer_accepts_are_named(tmp_path, pieces, fault):
    known = [piece for piece in VOCABULARY if piece != "red"]
    write_settings(tmp_path, [*known, *pieces])
    place = f"{tmp_path / 'vocab.txt'}:{len(known) + 2}: the word piece "
    with pytest.raises(ConfigError, match=re.escape(place + fault.format(len(known) + 1))):
        read_bert_folder(tmp_path)


def test_the_longest_word_pieces_are_accepted(tmp_path):
    write_settings(tmp_path, [*VOCABULARY, "x" * 256, "##" + "x" * 256, ""])
    assert len(read_bert_folder(tmp_path).vocabulary) == len(VOCABULARY) + 3


def test_capitals_outside_special_pieces_make_a_bert_cased(tmp_path):
    write_settings(tmp_path, [*VOCABULARY, "London"])
    assert not read_bert_folder(tmp_path).lowercase


def test_do_lower_case_overrides_the_vocabulary(tmp_path):
    write_settings(tmp_path, [*VOCABULARY, "London"], do_lower_case=True)
    assert read_bert_folder(tmp_path).lowercase
    write_settings(tmp_path, do_lower_case=False)
    assert not read_bert_folder(tmp_path).lowercase


@pytest.mark.parametrize("value", ["false", 0, None])
def test_switches_are_booleans(tmp_path, value):
    """The text "false" is true in Python."""
    write_settings(tmp_path, do_lower_case=value)
    with pytest.raises(ConfigError, match=r"bert_config\.json: do_lower_case is .*true or false"):
        read_bert_folder(tmp_path)


@pytest.mark.parametrize("value", ["false", 0, None])
def test_switches_of_a_preset_are_booleans(tmp_path, value):
    write_preset_settings(tmp_path, lowercase=value)
    with pytest.raises(ConfigError, match=r"tokenizer\.json: lowercase is .*true or false"):
        read_bert_folder(tmp_path)


def test_windows_line_ends_are_not_part_of_word_pieces(tmp_path):
    write_settings(tmp_path)
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(VOCABULARY).encode() + b"\r\n")
    assert read_bert_folder(tmp_path).vocabulary == tuple(VOCABULARY)


def test_missing_folder_lists_what_is_needed(tmp_path):
    with pytest.raises(ConfigError, match="no such folder") as caught:
        read_bert_folder(tmp_path / "none")
    for name in (*ORIGINAL_FILES, *PRESET_FILES, "data/README.md", str(tmp_path / "none")):
        assert name in str(caught.value)


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "bert.zip").write_bytes(b"")
    with pytest.raises(ConfigError, match="is a file, must be a folder"):
        read_bert_folder(tmp_path / "bert.zip")


def test_missing_vocabulary(tmp_path):
    write_settings(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(ConfigError, match=r"lacks vocab\.txt\. It must hold"):
        read_bert_folder(tmp_path)


def test_weights_are_only_required_on_request(tmp_path):
    write_settings(tmp_path)
    read_bert_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"lacks bert_model\.ckpt\.index, bert_model\.ckpt\.data"):
        read_bert_folder(tmp_path, weights=True)


def test_preset_without_its_weights(tmp_path):
    write_preset_settings(tmp_path)
    with pytest.raises(ConfigError, match=r"lacks model\.weights\.h5"):
        read_bert_folder(tmp_path, weights=True)


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_settings_that_are_not_a_json_object(tmp_path, text):
    write_settings(tmp_path)
    (tmp_path / "bert_config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError, match=r"bert_config\.json"):
        read_bert_folder(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, 'hidden_act = "relu"'),
        ({"hidden_dropout_prob": 0.2}, "0.2 and attention_probs_dropout_prob 0.1 differ"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, must be a whole number in 1..100"),
        ({"num_hidden_layers": "4"}, 'num_hidden_layers is "4"'),
        (
            {"hidden_dropout_prob": 1.5, "attention_probs_dropout_prob": 1.5},
            "hidden_dropout_prob is 1.5, must be a number in 0..1",
        ),
        ({"num_attention_heads": 5}, "hidden size 32 is not a multiple of the 5 attention heads"),
        ({"num_hidden_layers": 101}, r"num_hidden_layers is 101, must be .* in 1\.\.100"),
        ({"hidden_size": 10**12}, r"hidden_size is 10+, must be .* in 1\.\.20000"),
        ({"hidden_size": "x" * 10_000}, 'hidden_size is "x{99}…, must be'),
        (
            {"hidden_size": 20_000, "intermediate_size": 100_000},
            r"a BERT of 22,\d+,\d+,\d+ parameters; at most 2,000,000,000",
        ),
        ({"vocab_size": 30522}, f"holds {len(VOCABULARY)} word pieces, .* says 30522"),
    ],
)
def test_impossible_settings(tmp_path, changes, message):
    write_settings(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        read_bert_folder(tmp_path)


def test_a_missing_setting_is_named(tmp_path):
    settings = write_settings(tmp_path)
    del settings["intermediate_size"]
    (tmp_path / "bert_config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="intermediate_size is missing"):
        read_bert_folder(tmp_path)


def test_vocabulary_of_another_model(tmp_path):
    write_settings(tmp_path, ["[PAD]", "[UNK]", "the"])
    with pytest.raises(ConfigError, match=r"lacks \[CLS\], \[SEP\], \[MASK\]"):
        read_bert_folder(tmp_path)


def test_padding_must_be_id_zero(tmp_path):
    write_settings(tmp_path, [*VOCABULARY[1:], "[PAD]"])
    with pytest.raises(ConfigError, match=r"line 1 is '\[unused0\]', must be \[PAD\]"):
        read_bert_folder(tmp_path)


def test_vocabulary_that_is_not_text(tmp_path):
    write_settings(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_bert_folder(tmp_path)


@pytest.mark.parametrize("name", ["bert_config.json", "vocab.txt"])
@pytest.mark.parametrize("content", [b"[PAD]", b"\n"])
def test_files_of_gigabytes_are_not_read(tmp_path, name, content):
    write_settings(tmp_path)
    with (tmp_path / name).open("wb") as file:
        file.write(content * 1000)
        file.truncate(3_000_000_000)
    with memory_within(150_000_000), pytest.raises(ConfigError, match=r"has more than .* bytes"):
        read_bert_folder(tmp_path)


def test_a_vocabulary_of_empty_lines_is_not_split(tmp_path):
    write_settings(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\n" * MOST_VOCABULARY_BYTES)
    with memory_within(250_000_000), pytest.raises(ConfigError, match="holds 50000000 word pieces"):
        read_bert_folder(tmp_path)


def test_preset_of_another_model(tmp_path):
    write_preset_settings(tmp_path, class_name="RobertaBackbone")
    with pytest.raises(ConfigError, match='"RobertaBackbone", not a BertBackbone'):
        read_bert_folder(tmp_path)


def test_folder_of_another_format(tmp_path):
    write_preset_settings(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r'"bert", not a BertBackbone .* must be converted'):
        read_bert_folder(tmp_path)


def test_preset_with_another_tokenizer(tmp_path):
    write_preset_settings(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"class_name": "RobertaTokenizer"}')
    with pytest.raises(ConfigError, match="must be a BertTokenizer"):
        read_bert_folder(tmp_path)


def test_a_missing_keras_hub_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-bert\.txt"):
        import_keras_hub()
