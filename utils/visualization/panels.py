"""Pictures of predictions on an evaluation set: expression, true and predicted box and mask."""

from pathlib import Path

import numpy as np

from data.loading.pipeline import read_image
from utils.visualization.drawing import contact_sheet, draw_prediction


def draw_panels(evaluator, grounder, word_len, indices):
    """One picture an expression.

    Args:
        evaluator: `utils.evaluation.evaluator.Evaluator` of the set.
        grounder: `utils.prediction.grounder.Grounder`.
        word_len: words of an expression that are read.
        indices: places of the expressions in the set.

    Returns:
        list of uint8 (h, w, 3), RGB, in the order of `indices`.
    """
    chosen = evaluator.restricted(indices)
    measured = sorted(
        chosen.measure(grounder, word_len, keep_masks=True), key=lambda found: found.index
    )
    return [_panel(evaluator.image_path, found) for found in measured]


def best_median_worst(evaluator, grounder, word_len, measured, count):
    """A sheet of the `count` best, median and worst expressions of a set, a row each.

    Cases are ranked by the mean of box and mask IoU.

    Args:
        evaluator, grounder, word_len: as of `draw_panels`.
        measured: `Measured` of every expression, in the order of the set.
        count: pictures a row; fewer where the set is small.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    quality = np.array([found.det_iou + found.seg_iou for found in measured])
    ranked = np.argsort(-quality, kind="stable")
    count = min(count, len(ranked))
    middle = (len(ranked) - count) // 2
    rows = [ranked[:count], ranked[middle : middle + count], ranked[-count:]]
    panels = draw_panels(evaluator, grounder, word_len, np.concatenate(rows))
    return contact_sheet(panels, count, f"best, median and worst {count} of {len(ranked)}")


def _panel(image_path, found):
    return draw_prediction(
        np.asarray(read_image(Path(image_path) / found.image)),
        found.expression,
        found.box_xyxy,
        found.mask,
        found.true_box_xyxy,
        found.true_mask,
        found.score,
        found.det_iou,
        found.seg_iou,
    )
