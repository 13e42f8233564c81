"""Expressions are encoded as the config says; BERT runs through training and evaluation."""

import h5py
import numpy as np
import pytest

from data.text.vectors import WordSupply
from tests.model.text_encoders.bert_fixtures import write_original
from tests.tiny import UNKNOWN_WORD
from utils.prediction.expressions import (
    ExpressionReader,
    build_words,
    in_file_name,
    words_text,
)


def test_word_vectors_by_default(tiny_set):
    words = build_words(tiny_set.config(), tiny_set.train)
    vectors = words.lookup(words.encode("red box", 4))
    np.testing.assert_allclose(vectors[0], tiny_set.words["red"], rtol=1e-6)
    assert vectors.shape == (4, 8)


def test_words_without_a_vector_are_counted(tiny_set):
    words = build_words(tiny_set.config(), [*tiny_set.train, *tiny_set.val])
    assert words.unknown == (UNKNOWN_WORD,)
    count = len(words.index) + 1
    assert words_text(words) == f"; 1 of {count} words has no vector, see data/check.py"
    assert words_text(object()) == ""


def test_only_the_words_that_the_network_sees_are_looked_up(tiny_set, monkeypatch):
    asked = []
    table = WordSupply.table

    def watched(supply, expressions):
        expressions = list(expressions)
        asked.extend(expressions)
        return table(supply, expressions)

    monkeypatch.setattr(WordSupply, "table", watched)
    reading = ExpressionReader(tiny_set.config()).read(["red box", "red " * 4 + "a b " * 50_000])
    assert asked == ["red box", "red red red red"]
    assert reading.unread[0] == ()
    assert len(reading.unread[1]) == 100_000


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    pytest.importorskip("keras_hub", reason="pip install -r requirements-bert.txt")
    folder = tmp_path_factory.mktemp("bert")
    return folder, write_original(folder, num_hidden_layers=2)[1]


def bert_config(tiny_set, folder, log, **changes):
    settings = {"text_encoder": "bert", "word_len": 7, "epoches": 1, "log_path": str(log)}
    return tiny_set.config(**settings, bert_path=str(folder), **changes)


def bert_arrays(path):
    """The arrays of the layer "bert" in a weight file, by path."""
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and "bert_encoder" in name:
            arrays[name] = item[...]

    with h5py.File(path) as file:
        file.visititems(visit)
    return arrays


def test_word_pieces_are_counted_no_further_than_the_network_sees(tiny_set, bert, tmp_path):
    reader = ExpressionReader(bert_config(tiny_set, bert[0], tmp_path))
    counted = []
    pieces = reader._table([])
    count = pieces.pieces
    pieces.pieces = lambda text: counted.append(text) or count(text)
    (unread,) = reader.read(["the red man " * 10_000]).unread
    assert len(unread) == 30_000 - 5
    assert len(counted) <= 8
    assert reader.read(["the red man"]).unread == [()]


def test_batches_hold_word_pieces(tiny_set, bert, tmp_path):
    from data.loading.pipeline import training_batches
    from utils.training.builder import build_sets

    config = bert_config(tiny_set, bert[0], tmp_path)
    training_set, evaluators, _ = build_sets(config)
    assert training_set.words is evaluators["val"].words
    dataset = training_batches(training_set, 1, 2, workers=1, prefetch=1)
    assert dataset.element_spec["words"].shape.as_list() == [2, 7]
    words = np.concatenate([batch["words"] for batch in dataset.as_numpy_iterator()])
    assert words.dtype == np.int32
    np.testing.assert_array_equal(words, training_set.word_ids(*training_set.plan(1, len(words))))


@pytest.mark.slow
def test_training_and_evaluation_end_to_end(tiny_set, bert, tmp_path):
    from utils.evaluation.report import report
    from utils.training.builder import build_trainer

    folder, tensors = bert
    config = bert_config(tiny_set, folder, tmp_path / "log")
    state = build_trainer(config).run()
    weights = tmp_path / "log/best.weights.h5"

    kept = bert_arrays(weights).values()
    assert len(kept) == len(tensors) - 3  # all but pooler and pretraining head
    for array in kept:
        flat = array.reshape(-1)
        assert any(np.array_equal(flat, tensor.reshape(-1)) for tensor in tensors.values())

    report(config.replace(evaluate_model=str(weights)), tmp_path / "result")
    text = (tmp_path / "result/result.json").read_text()
    assert f'"det_acc": {state.best_det_acc}' in text


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("The woman's hat, left", "the-woman-s-hat-left"),
        ("../etc/passwd\0 _x_", "etc-passwd-x"),
        ("cafe\u0301 \ud800 roter Ba\u0308r", "caf\u00e9-roter-b\u00e4r"),
        (" ?! ", ""),
        ("\u00e9" * 100, "\u00e9" * 30),  # 60 bytes
        ("x" * 59 + " y", "x" * 59),
    ],
)
def test_expressions_become_parts_of_file_names(expression, name):
    assert in_file_name(expression) == name
