"""Training curves: losses, accuracies, mask precision and learning rate per epoch."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from utils.visualization.palette import CURVES, FAINT_INK, GRID, hex_code

PANEL_INCHES = (5.6, 3.3)
DOTS_PER_INCH = 100
MARKED_POINTS = 15
LOGARITHMIC_FROM = 20.0  # the ratio of the largest to the smallest value
ZERO_BELOW = 0.7  # the axis starts at zero if the smallest value is below this part of the largest
PERCENT = 100.0
NO_LOSS = ("learning_rate", "seconds", "samples_per_s")
QUALITY = {
    "det_acc": "Acc@{:g}",
    "seg_iou": "mean IoU",
    "overall_iou": "overall IoU",
    "ie_score": "IE",
}


def draw_curves(records: Sequence[Mapping], det_thresh: float = 0.5) -> np.ndarray | None:
    """Draws the curves of a run.

    Args:
        records: one dict per epoch, {"epoch": 1, "train": {"loss": …, "learning_rate": …},
            "val": {"det_acc": …, "seg_prec": {"0.5": …}}}, as `epochs.jsonl` holds them. Missing
            values and nulls are skipped.
        det_thresh: IoU above which a box counts as correct, for the legend.

    Returns:
        (H, W, 3) uint8, RGB; None if the records hold no values.
    """
    panels = {title: curves for title, curves in _panels(records, det_thresh).items() if curves}
    if not panels:
        return None
    # Matplotlib takes a second to load, and most commands draw no curves.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(panels), 2)
    rows = math.ceil(len(panels) / columns)
    size = (columns * PANEL_INCHES[0], rows * PANEL_INCHES[1])
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, (title, curves) in enumerate(panels.items(), start=1):
        _draw_panel(figure.add_subplot(rows, columns, place), title, curves)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _panels(records, det_thresh):
    """Title → {label: [(epoch, value), …]} of the curves that have values."""
    train = [(record["epoch"], record.get("train") or {}) for record in records]
    val = [(record["epoch"], record.get("val") or {}) for record in records]
    precision = [(epoch, values.get("seg_prec") or {}) for epoch, values in val]
    losses = [name for name in _names(train) if name not in NO_LOSS]
    panels = {
        "Training loss": {name: _points(train, name) for name in losses},
        "Validation, %": {
            label.format(det_thresh): _points(val, name, PERCENT) for name, label in QUALITY.items()
        },
        "Mask precision, % of masks with IoU > x": {
            name: _points(precision, name, PERCENT) for name in _names(precision)[::2]
        },
        "Learning rate": {"": _points(train, "learning_rate")},
    }
    return {
        title: {label: points for label, points in curves.items() if points}
        for title, curves in panels.items()
    }


def _names(rows):
    return list(dict.fromkeys(name for _, values in rows for name in values))


def _points(rows, name, factor=1.0):
    return [
        (epoch, factor * values[name])
        for epoch, values in rows
        if isinstance(values.get(name), int | float) and math.isfinite(values[name])
    ]


def _draw_panel(axes, title, curves):
    for (label, points), color in zip(curves.items(), itertools.cycle(CURVES), strict=False):
        # Markers show the points of short curves: a single point makes no line.
        marker = "o" if len(points) <= MARKED_POINTS else ""
        axes.plot(*zip(*points, strict=True), marker=marker, label=label, color=hex_code(color))
    values = [value for points in curves.values() for _, value in points]
    low, high = min(values), max(values)
    if low > 0 and high / low > LOGARITHMIC_FROM and "%" not in title:
        axes.set_yscale("log")
    elif 0 <= low < ZERO_BELOW * high:
        axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch", loc="right")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(which="both", colors=hex_code(FAINT_INK), length=0)
    axes.grid(axis="y", color=hex_code(GRID))
    axes.spines[:].set_visible(False)
    if any(curves):
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
