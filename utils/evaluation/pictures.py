"""Pictures of what a network predicts for the expressions of a set."""

from collections.abc import Sequence

import numpy as np

from utils.evaluation.evaluator import Evaluator
from utils.evaluation.results.measurement import Measurement
from utils.evaluation.results.pictures import draw_measurement, sheet_of
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
    chosen = evaluator.restricted(indices)
    measured = sorted(
        chosen.measure(grounder, word_len, keep_masks=True), key=lambda case: case.index
    )
    return [
        draw_measurement(
            evaluator.image_path, case, *unseen_words(evaluator.words, case.expression, word_len)
        )
        for case in measured
    ]


def draw_sheet(
    evaluator: Evaluator,
    grounder: Grounder,
    word_len: int,
    measured: Sequence[Measurement],
    count: int,
    name: str,
) -> np.ndarray:
    """Draws the `count` best, median and worst expressions of a set, under one heading each.

    Args:
        evaluator, grounder, word_len: as in `draw_panels`.
        measured, count, name: as in `utils.evaluation.results.pictures.sheet_of`.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    return sheet_of(
        measured, count, name, lambda indices: draw_panels(evaluator, grounder, word_len, indices)
    )
