"""Curves of a run as one picture: losses, accuracy, mask precision, learning rate by epoch.

Drawn from the records of `epochs.jsonl` with the libraries that are here anyway.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PANEL_WIDTH, PANEL_HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 62, 116, 40, 34
PAPER, INK, FAINT_INK, GRID = (255, 255, 255), (28, 30, 34), (104, 108, 116), (228, 230, 234)
# Okabe and Ito's palette without its yellow, which is too faint on white.
COLOURS = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167),
    (230, 159, 0), (86, 180, 233), (60, 60, 60),
)  # fmt: skip
LOG_FROM = 20.0
SUBPIXEL_BITS = 4
PERCENT = 100.0
NO_LOSS = ("learning_rate", "seconds", "samples_per_s")
QUALITY = {
    "det_acc": "Acc@0.5",
    "seg_iou": "mean IoU",
    "overall_iou": "overall IoU",
    "ie_score": "IE",
}


@dataclass(frozen=True)
class Axis:
    """A vertical axis: its ends, its ticks, and whether it is logarithmic."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool

    def place(self, value):
        """Where a value lies: 0 at the low end, 1 at the high end."""
        scale = math.log10 if self.log else float
        low, high = scale(self.low), scale(self.high)
        return (scale(value) - low) / (high - low)


def draw_curves(records):
    """Draws the curves of a run.

    Args:
        records: list of {"epoch": 1, "train": {"loss": …, "learning_rate": …},
            "val": {"det_acc": …, "seg_prec": {"0.5": …}}}, as `RunLog.epoch` keeps them. What is
            missing or null leaves a gap.

    Returns:
        uint8 (H, W, 3), RGB; None if the records hold nothing to draw.
    """
    panels = [
        _draw_panel(title, series, log=log)
        for title, series, log in _panels(records)
        if any(points for points in series.values())
    ]
    if not panels:
        return None
    if len(panels) % 2 and len(panels) > 1:
        panels.append(np.full_like(panels[0], PAPER))
    rows = [np.concatenate(panels[k : k + 2], axis=1) for k in range(0, len(panels), 2)]
    return np.concatenate(rows)


def _panels(records):
    """(title, {name: [(epoch, value), …]}, logarithmic or None: as the values ask) of each."""
    train = [(r["epoch"], r.get("train") or {}) for r in records]
    val = [(r["epoch"], r.get("val") or {}) for r in records]
    precision = [(epoch, values.get("seg_prec") or {}) for epoch, values in val]
    losses = [name for name in _names(train) if name not in NO_LOSS]
    return [
        ("Training loss", {name: _points(train, name) for name in losses}, None),
        (
            "Validation, %",
            {label: _points(val, name, PERCENT) for name, label in QUALITY.items()},
            False,
        ),
        (
            "Mask precision, % of masks with IoU > x",
            {name: _points(precision, name, PERCENT) for name in _names(precision)[::2]},
            False,
        ),
        ("Learning rate", {"": _points(train, "learning_rate")}, None),
    ]


def _names(rows):
    return list(dict.fromkeys(name for _, values in rows for name in values))


def _points(rows, name, factor=1.0):
    return [
        (epoch, factor * values[name])
        for epoch, values in rows
        if isinstance(values.get(name), int | float) and math.isfinite(values[name])
    ]


def _draw_panel(title, series, log):
    series = {name: points for name, points in series.items() if points}
    epochs = [epoch for points in series.values() for epoch, _ in points]
    first, last = min(epochs), max(epochs)
    axis = _axis([value for points in series.values() for _, value in points], log)
    width, height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM

    def place(epoch, value):
        share = (epoch - first) / (last - first) if last > first else 0.5
        return LEFT + share * width, TOP + (1 - axis.place(value)) * height

    picture = Image.new("RGB", (PANEL_WIDTH, PANEL_HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    draw.text((LEFT, 10), title, font=ImageFont.load_default(16), fill=INK)
    for tick in axis.ticks:
        y = place(first, tick)[1]
        draw.line((LEFT, y, LEFT + width, y), fill=GRID)
        draw.text((LEFT - 8, y), f"{tick:g}", font=font, fill=FAINT_INK, anchor="rm")
    for epoch in _whole_ticks(first, last):
        x = place(epoch, axis.low)[0]
        draw.text((x, TOP + height + 6), str(epoch), font=font, fill=FAINT_INK, anchor="ma")
    draw.text((PANEL_WIDTH - RIGHT + 12, TOP + height + 6), "epoch", font=font, fill=FAINT_INK)
    lines = [[place(*point) for point in points] for points in series.values()]
    _label_ends(draw, list(series), [line[-1][1] for line in lines], font)
    canvas = np.array(picture)
    for number, line in enumerate(lines):
        _draw_line(canvas, line, COLOURS[number % len(COLOURS)])
    return canvas


def _label_ends(draw, names, heights, font):
    """Writes each curve's name beside its end, moved apart where they would overlap."""
    step, bottom = 16, PANEL_HEIGHT - BOTTOM
    order = sorted(range(len(names)), key=lambda k: heights[k])
    places = [heights[k] for k in order]
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + step)
    for k in range(len(places) - 1, -1, -1):
        below = places[k + 1] - step if k + 1 < len(places) else bottom
        places[k] = min(places[k], below)
    for k, y in zip(order, places, strict=True):
        colour = COLOURS[k % len(COLOURS)]
        draw.text((PANEL_WIDTH - RIGHT + 12, y), names[k], font=font, fill=colour, anchor="lm")


def _draw_line(canvas, points, colour):
    fixed = np.rint(np.array(points) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, colour, 2, cv2.LINE_AA, SUBPIXEL_BITS)
    radius = 3 * 2**SUBPIXEL_BITS
    for point in fixed if len(fixed) <= 15 else fixed[-1:]:
        cv2.circle(canvas, point.tolist(), radius, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _axis(values, log):
    """An axis that holds all values; logarithmic if `log`, or if None and they ask for it."""
    low, high = min(values), max(values)
    if log is None:
        log = low > 0 and high / low > LOG_FROM
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = tuple(10.0**power for power in decades[:: 1 + len(decades) // 7])
        return Axis(10.0 ** decades[0], 10.0 ** decades[-1], ticks, True)
    if math.isclose(low, high, rel_tol=1e-6):
        low, high = min(low, 0.0), max(high, 0.0) or 1.0
    # Curves start at zero unless they lie far from it.
    bottom = 0.0 if 0 <= low <= 0.7 * high else low
    step = _nice_step(high - bottom)
    bottom = step * math.floor(bottom / step)
    count = max(math.ceil((high - bottom) / step - 1e-9), 1)
    ticks = tuple(bottom + k * step for k in range(count + 1))
    return Axis(ticks[0], ticks[-1], ticks, False)


def _nice_step(span):
    """1, 2 or 5 times a power of ten, four to eight of which make up a span."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= span / 4)


def _whole_ticks(first, last):
    step = max(int(_nice_step(last - first)), 1) if last - first >= 4 else 1
    start = step * math.ceil(first / step)
    return list(range(start, last + 1, step))
