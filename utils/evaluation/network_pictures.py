"""Pictures of what a network predicts for the expressions of a set."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from utils.evaluation.evaluator import Evaluator
from utils.evaluation.results.measurement import Measurement
from utils.evaluation.results.pictures import Painter, sheet_and_page
from utils.prediction.expressions import unseen_words
from utils.prediction.grounder import Grounder


def draw_panels(
    evaluator: Evaluator, grounder: Grounder, word_len: int, indices: Sequence[int] | np.ndarray
) -> list[np.ndarray]:
    """Draws one picture per expression.

    Args:
        evaluator: `Evaluator` of the set.
        grounder: `Grounder` of the network.
        word_len: number of words that are read per expression.
        indices: positions of the expressions in the set.

    Returns:
        (h, w, 3) uint8 RGB each, in the order of `indices`, without those of skipped images.
    """
    painter = _painter(evaluator, word_len)
    measured = _measure(evaluator, grounder, word_len, indices)
    panels = {case.index: painter.panel(case) for case in measured}
    return [panels[index] for index in indices if index in panels]


def draw_pictures(
    evaluator: Evaluator,
    grounder: Grounder,
    word_len: int,
    measured: Sequence[Measurement],
    count: int,
    name: str,
) -> tuple[np.ndarray, memoryview]:
    """Draws the `count` best, median and worst expressions of a set.

    Args:
        evaluator, grounder, word_len: as in `draw_panels`.
        measured, count, name: as in `utils.evaluation.results.pictures.sheet_and_page`.

    Returns:
        A sheet and a page, as there.
    """
    return sheet_and_page(
        measured,
        count,
        name,
        _painter(evaluator, word_len),
        lambda indices: _measure(evaluator, grounder, word_len, indices),
    )


def _painter(evaluator: Evaluator, word_len: int) -> Painter:
    return Painter(
        evaluator.image_path,
        evaluator.det_thresh,
        lambda expression: unseen_words(evaluator.words, expression, word_len),
    )


def _measure(
    evaluator: Evaluator, grounder: Grounder, word_len: int, indices: Sequence[int] | np.ndarray
) -> Iterator[Measurement]:
    """Measures the expressions at some positions in the set, with their masks, in any order."""
    chosen = evaluator.restricted(indices)
    for case in chosen.measure(grounder, word_len, keep_masks=True):
        yield replace(case, index=int(indices[case.index]))
