"""Pictures of evaluated expressions: predicted and true box and mask over the image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.loading.images import read_image
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.results.measurement import Measurement
from utils.prediction.grounder import Grounder
from utils.visualization.drawing import draw_prediction
from utils.visualization.panels import contact_sheet


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
    return [_draw_panel(evaluator.image_path, case) for case in measured]


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
    quality = np.array([case.det_iou + case.seg_iou for case in measured])
    ranked = np.argsort(-quality, kind="stable")
    count = min(count, len(ranked))
    middle = (len(ranked) - count) // 2
    rows = [ranked[:count], ranked[middle : middle + count], ranked[-count:]]
    indices = [measured[number].index for number in np.concatenate(rows)]
    panels = draw_panels(evaluator, grounder, word_len, indices)
    return contact_sheet(panels, count, f"best, median and worst {count} of {len(ranked)}")


def _draw_panel(image_path, case):
    return draw_prediction(
        np.asarray(read_image(Path(image_path) / case.image)),
        case.expression,
        case.box_xyxy,
        case.mask,
        case.true_box_xyxy,
        case.true_mask,
        case.score,
        case.det_iou,
        case.seg_iou,
    )
