"""What a resumption may change: sets, anchors and architecture make it another run."""

import json
import shutil
from pathlib import Path

import pytest

from config.schema import Config
from data.loading.annotations import read_annotations
from tests.model.text_encoders.bert_fixtures import write_original
from utils.prediction.expressions import build_words
from utils.training.run.settings import (
    compare_settings,
    first_step,
    run_settings,
    score_changes,
)


@pytest.fixture
def config(tiny_set, tmp_path):
    """A config whose annotations, anchors and vectors are copies that a test may change."""
    copies = {}
    for key in ("train_set", "evaluate_set", "anchors_file"):
        copies[key] = str(tmp_path / key)
        shutil.copyfile(tiny_set.paths[key], tmp_path / key)
    copies["word_embed"] = str(tmp_path / "glove.txt")
    shutil.copyfile(tiny_set.paths["word_embed"], copies["word_embed"])
    return tiny_set.config(**copies)


def settings_of(config: Config):
    referents = [*read_annotations(config.train_set), *read_annotations(config.evaluate_set)]
    return run_settings(config, build_words(config, referents))


def test_equal_settings_have_no_changes(config):
    changes = compare_settings(settings_of(config), settings_of(config))
    assert (changes.refused, changes.printed) == ([], [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", 128), ("word_len", 5), ("seed", 1), ("det_acc_thresh", 0.75),
        ("backbone", "vgg"), ("rnn_cell", "gru"), ("head_width", 0.5),
        ("aspp_dilations", [1, 2, 3]),
        ("lang_att", 0),
    ],
)  # fmt: skip
def test_what_makes_another_run_is_refused(config, key, value):
    changed = config.replace(**{key: value})
    changes = compare_settings(settings_of(config), settings_of(changed))
    assert changes.refused == [f"{key}: {getattr(config, key)} → {value}"]
    assert changes.printed == []


@pytest.mark.parametrize(
    ("key", "value"), [("lr", 0.5), ("batch_size", 4), ("mask_target", "area"), ("clip_norm", 1.0)]
)
def test_other_changes_are_printed(config, key, value):
    changed = config.replace(**{key: value})
    changes = compare_settings(settings_of(config), settings_of(changed))
    assert changes.refused == []
    assert changes.printed == [f"{key}: {getattr(config, key)} → {value}"]


@pytest.mark.parametrize("key", ["train_set", "evaluate_set", "anchors_file"])
def test_contents_of_sets_and_anchors_count_and_not_their_paths(config, key, tmp_path):
    saved = settings_of(config)
    moved = tmp_path / "moved"
    shutil.copyfile(getattr(config, key), moved)
    config = config.replace(**{key: str(moved)})
    changes = compare_settings(saved, settings_of(config))
    assert changes.refused == []
    assert changes.printed[0].startswith(f"{key}: ")
    moved.write_bytes(moved.read_bytes().rstrip() + b" ")
    changes = compare_settings(saved, settings_of(config))
    assert changes.refused == [f"{key}: the contents of {moved} have changed"]


def test_keys_of_other_versions_are_left_out(config):
    saved, current = settings_of(config), settings_of(config)
    del saved["skip_nonfinite"]
    saved["removed_key"] = 3
    changes = compare_settings(saved, current)
    assert (changes.refused, changes.printed) == ([], [])


@pytest.mark.parametrize(
    ("step", "old", "new", "expected"),
    [(0, 2, 4, 0), (3, 2, 2, 3), (3, 2, 4, 1), (2, 4, 2, 4), (5, 2, 3, 3), (50, 2, 4, 3)],
)
def test_positions_are_converted_to_another_batch_size(step, old, new, expected):
    """Ten samples: 5 steps of two, 3 of four, 4 of three; no sample is left out."""
    saved, current = {"batch_size": old}, {"batch_size": new}
    assert first_step(saved, current, step, samples=10) == (4 if new == 3 else expected)


@pytest.mark.parametrize("key", ["evaluate_set", "anchors_file"])
def test_scores_of_other_contents_do_not_compare(config, key, tmp_path):
    saved = settings_of(config)
    moved = tmp_path / "moved"
    shutil.copyfile(getattr(config, key), moved)
    config = config.replace(**{key: str(moved)})
    assert score_changes(saved, settings_of(config)) == []
    moved.write_bytes(moved.read_bytes().rstrip() + b" ")
    assert score_changes(saved, settings_of(config)) == [key]


def test_word_vectors_count_by_content_and_not_by_path(config, tmp_path):
    saved = settings_of(config)
    moved = tmp_path / "moved.txt"
    shutil.copyfile(config.word_embed, moved)
    config = config.replace(word_embed=str(moved))
    changes = compare_settings(saved, settings_of(config))
    assert (changes.refused, len(changes.printed)) == ([], 1)
    assert score_changes(saved, settings_of(config)) == []
    word, number, rest = moved.read_text().split(" ", 2)
    moved.write_text(f"{word} {float(number) + 1} {rest}")
    changes = compare_settings(saved, settings_of(config))
    assert changes.refused == [f"word_embed: the contents of {moved} have changed"]
    assert score_changes(saved, settings_of(config)) == ["word_embed"]


def test_another_vocabulary_does_not_count_as_other_word_vectors(config, tmp_path):
    saved = settings_of(config)
    lines = Path(config.train_set).read_text().splitlines(keepends=True)
    Path(config.train_set).write_text("".join(lines[:1]))
    changes = compare_settings(saved, settings_of(config))
    assert changes.refused == [f"train_set: the contents of {config.train_set} have changed"]
    assert score_changes(saved, settings_of(config)) == []
    moved = tmp_path / "moved.txt"
    shutil.copyfile(config.word_embed, moved)
    assert score_changes(saved, settings_of(config.replace(word_embed=str(moved)))) == [
        "word_embed"
    ]


def test_words_of_earlier_versions_count_as_the_same(config):
    saved = settings_of(config)
    del saved["contents"]["word_embed"]
    assert compare_settings(saved, settings_of(config)).refused == []


def test_a_bert_counts_by_what_it_reads_and_how(config, tmp_path):
    pytest.importorskip("keras_hub", reason="pip install -r requirements-bert.txt")
    write_original(tmp_path / "bert")
    config = config.replace(text_encoder="bert", word_len=7, bert_path=str(tmp_path / "bert"))
    saved = settings_of(config)
    assert compare_settings(saved, settings_of(config)).refused == []
    path = tmp_path / "bert" / "bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": False}))
    changes = compare_settings(saved, settings_of(config))
    assert changes.refused == [f"bert_path: the contents of {config.bert_path} have changed"]
    assert score_changes(saved, settings_of(config)) == ["bert_path"]


@pytest.mark.parametrize("key", ["aspp_dilations", "rnn_cell", "lang_att"])
def test_scores_of_another_architecture_do_not_compare(config, key):
    changed = {"aspp_dilations": [1, 2, 3], "rnn_cell": "gru", "lang_att": 0}[key]
    current = settings_of(config.replace(**{key: changed}))
    assert score_changes(settings_of(config), current) == [key]


def test_scores_of_other_settings_do_not_compare(config):
    saved = settings_of(config)
    changed = config.replace(det_acc_thresh=0.7, input_size=128, lr=0.5, seed=3)
    assert score_changes(saved, settings_of(changed)) == ["input_size", "det_acc_thresh"]
