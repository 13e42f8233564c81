"""Training curves: losses, accuracies, mask precision and learning rate per epoch."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from utils.visualization.palette import CURVES, FAINT_INK, GRID, hex_code

PANEL_INCHES = (5.6, 3.3)
MARGINS_INCHES = (0.55, 0.42, 1.45, 0.32)  # of axes in a panel; the right one is for the legend
DOTS_PER_INCH = 100
MARKED_POINTS = 15
TICKS = 5  # per axis, about
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
            "val": {"det_acc": …, "seg_prec": {"0.5": …}}, "val_ema": {…}}, as
            `epochs.jsonl` holds them. Missing values and nulls are skipped.
        det_thresh: IoU above which a box counts as correct, for the legend.

    Returns:
        (H, W, 3) uint8, RGB; None if the records hold no values.
    """
    panels = {title: curves for title, curves in _panels(records, det_thresh).items() if curves}
    return draw_panels_of_lines(panels, "epoch") if panels else None


def draw_panels_of_lines(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    x_label: str = "",
    from_zero: bool = False,
) -> np.ndarray:
    """Draws lines in panels, two beside one another.

    Args:
        panels: title → {label of a line: its points}; an empty label is not shown.
        x_label: of the horizontal axes.
        from_zero: whether all axes start at zero, so that proportional growth is a straight line
            through the origin.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    # Matplotlib takes a second to load, and most commands draw no curves.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(panels), 2)
    rows = math.ceil(len(panels) / columns)
    size = (columns * PANEL_INCHES[0], rows * PANEL_INCHES[1])
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    for number, (title, curves) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        _draw_panel(figure.add_axes(_place(row, column, rows, columns)), title, curves, x_label)
        if from_zero:
            figure.axes[-1].set(xlim=(0, None), ylim=(0, None), yscale="linear")
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _place(row, column, rows, columns):
    """Left, bottom, width and height of the axes of a panel, parts of the figure.

    Without matplotlib's own layout, which takes longer than all the drawing.
    """
    left, bottom, right, top = MARGINS_INCHES
    width, height = PANEL_INCHES
    inches = (
        column * width + left,
        (rows - 1 - row) * height + bottom,
        width - left - right,
        height - bottom - top,
    )
    return tuple(
        inch / whole
        for inch, whole in zip(inches, 2 * (columns * width, rows * height), strict=True)
    )


def _panels(records, det_thresh):
    """Title → {label: [(epoch, value), …]} of the curves that have values."""
    train = [(record["epoch"], record.get("train") or {}) for record in records]
    val = [(record["epoch"], record.get("val") or {}) for record in records]
    averages = [(record["epoch"], record.get("val_ema") or {}) for record in records]
    precision = [(epoch, values.get("seg_prec") or {}) for epoch, values in val]
    losses = [name for name in _names(train) if name not in NO_LOSS]
    panels = {
        "Training loss": {name: _points(train, name) for name in losses},
        "Validation, %": {
            label.format(det_thresh): _points(val, name, PERCENT) for name, label in QUALITY.items()
        }
        | {
            f"{QUALITY[name].format(det_thresh)} (ema)": _points(averages, name, PERCENT)
            for name in ("det_acc", "seg_iou")
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


def _draw_panel(axes, title, curves, x_label):
    for (label, points), color in zip(curves.items(), itertools.cycle(CURVES), strict=False):
        # Markers show the points of short curves: a single point makes no line.
        marker = "o" if len(points) <= MARKED_POINTS else ""
        axes.plot(*zip(*points, strict=True), marker=marker, label=label, color=hex_code(color))
    values = [value for points in curves.values() for _, value in points]
    low, high = min(values), max(values)
    if low > 0 and high / low > LOGARITHMIC_FROM and "%" not in title:
        axes.set_yscale("log", subs=[])  # Each tick takes milliseconds: no minor ones.
        axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5), numticks=2 * TICKS)
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.yaxis.get_major_locator().set_params(nbins=TICKS)
        if 0 <= low < ZERO_BELOW * high:
            axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", y=1.02)  # A given height saves measuring all labels twice.
    axes.set_xlabel(x_label, loc="right")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=TICKS)
    axes.tick_params(which="both", colors=hex_code(FAINT_INK), length=0)
    axes.grid(axis="y", color=hex_code(GRID))
    axes.spines[:].set_visible(False)
    if any(curves):
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
