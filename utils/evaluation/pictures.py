"""Pictures of evaluated expressions: predicted and true box and mask over the image."""

from collections.abc import Sequence

import numpy as np

from utils.evaluation.evaluator import Evaluator
from utils.evaluation.results.measurement import Measurement
from utils.evaluation.results.pictures import draw_measurement, sheet_of
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
    return [draw_measurement(evaluator.image_path, case) for case in measured]


def best_median_worst(
    evaluator: Evaluator,
    grounder: Grounder,
    word_len: int,
    measured: Sequence[Measurement],
    count: int,
) -> np.ndarray:
    """Draws the `count` best, median and worst expressions of a set, one row each.

    Expressions are ranked by the mean of box and mask IoU.

    Args:
        evaluator, grounder, word_len: as in `draw_panels`.
        measured: `Measurement` of every expression that was evaluated.
        count: pictures per row; fewer if the set is smaller.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    return sheet_of(
        measured, count, lambda indices: draw_panels(evaluator, grounder, word_len, indices)
    )
