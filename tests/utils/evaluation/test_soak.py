"""Many evaluations in one process: nothing is traced anew, and memory stays."""

import gc

import numpy as np
import pytest

from tests.limits import resident_bytes
from tests.tiny import NETWORK
from utils.evaluation.evaluator import build_evaluator
from utils.evaluation.text_features import in_batches
from utils.prediction.grounder import Grounder

WORD_LEN = NETWORK["word_len"]
GROWTH = 0.02


def traces(grounder):
    parts = grounder._parts
    functions = (parts.encode_images, parts.encode_words, parts.locate)
    return [function.experimental_get_tracing_count() for function in functions]


@pytest.mark.parametrize("count", [5, pytest.param(20, marks=pytest.mark.soak)])
def test_evaluations_in_one_process(tiny_set, grounder, count):
    evaluator = build_evaluator(tiny_set.config())
    results, memory, traced = [], [], []
    for number in range(count + 1):
        # Another subset each time: batches of other sizes.
        evaluator.restricted(range(1 + number % evaluator.n_expressions)).evaluate(
            grounder, WORD_LEN
        )
        results.append(evaluator.evaluate(grounder, WORD_LEN))
        gc.collect()
        memory.append(resident_bytes())
        traced.append(traces(grounder))
    assert results == [results[0]] * len(results)
    assert traced == [[1, 1, 1]] * len(traced)
    print([f"{size / 1e6:.1f} MB" for size in memory])
    assert memory[-1] <= memory[0] * (1 + GROWTH)


class SizesSeen:
    """A grounder that notes how many rows its functions get."""

    def __init__(self, grounder, jit_compile):
        self._grounder, self.jit_compile, self.sizes = grounder, jit_compile, set()

    def __getattr__(self, name):
        return getattr(self._grounder, name)

    def encode_words(self, words):
        self.sizes.add(("words", len(words)))
        return self._grounder.encode_words(words)

    def locate(self, features, rows, text_features, names=()):
        self.sizes.add(("locate", len(rows)))
        return self._grounder.locate(features, rows, text_features, names)


@pytest.mark.parametrize("batch_size", [5, 7])
def test_xla_compiles_for_one_number_of_expressions(tiny_set, grounder, batch_size):
    evaluator = build_evaluator(tiny_set.config(eval_batch_size=batch_size))
    plain, compiled = SizesSeen(grounder, False), SizesSeen(grounder, True)
    expected = evaluator.evaluate(plain, WORD_LEN)
    assert len(plain.sizes) > 2
    for chosen in (range(12), range(1), range(7)):
        evaluator.restricted(chosen).evaluate(compiled, WORD_LEN)
    assert compiled.sizes == {("words", batch_size), ("locate", batch_size)}
    result = evaluator.evaluate(compiled, WORD_LEN)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.slow
def test_evaluation_with_xla_gives_the_same(tiny_set, grounder):
    evaluator = build_evaluator(tiny_set.config())
    compiled = Grounder(grounder.model, grounder.anchors_px, jit_compile=True)
    expected = evaluator.evaluate(grounder, WORD_LEN)
    result = evaluator.evaluate(compiled, WORD_LEN)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-3), name
    assert traces(compiled) == [1, 1, 1]


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("count", [1, 3, 4, 8, 9])
def test_in_batches(fill, count):
    sizes = []

    def double(numbers, letters):
        assert len(numbers) == len(letters)
        sizes.append(len(numbers))
        return [2 * numbers, letters]

    numbers = np.arange(2 * count).reshape(count, 2)
    letters = np.arange(count)
    doubled, same = in_batches(double, [numbers, letters], 4, fill)
    np.testing.assert_array_equal(doubled, 2 * numbers)
    np.testing.assert_array_equal(same, letters)
    rest = [count % 4] if count % 4 else []
    assert sizes == [4] * (count // 4) + ([4] * len(rest) if fill else rest)
