"""Curves lie where their values are."""

import math

import numpy as np
import pytest

from utils.visualization.curves import (
    COLOURS,
    LEFT,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    RIGHT,
    _axis,
    draw_curves,
)

RED = COLOURS[1]


def record(epoch, **val):
    return {"epoch": epoch, "train": {"loss": 1.0 / epoch, "learning_rate": 1e-3}, "val": val}


def columns_and_rows(picture, colour):
    left = picture[:, LEFT : PANEL_WIDTH - RIGHT]
    rows, columns = np.nonzero((left == colour).all(axis=-1))
    return columns, rows


def test_nothing_to_draw():
    assert draw_curves([]) is None
    assert draw_curves([{"epoch": 1, "train": {"loss": None, "seconds": 3.0}}]) is None


def test_a_panel_for_each_kind_of_value():
    one = draw_curves([{"epoch": 1, "val": {"det_acc": 0.5}}])
    assert one.shape == (PANEL_HEIGHT, PANEL_WIDTH, 3)
    assert one.dtype == np.uint8
    three = draw_curves([record(1, det_acc=0.5)])
    assert three.shape == (2 * PANEL_HEIGHT, 2 * PANEL_WIDTH, 3)
    four = draw_curves([record(1, det_acc=0.5, seg_prec={"0.5": 0.4, "0.55": 0.3, "0.6": 0.2})])
    assert four.shape == three.shape
    assert (four[PANEL_HEIGHT:, PANEL_WIDTH:] != 255).any()
    assert (three[PANEL_HEIGHT:, PANEL_WIDTH:] == 255).all()


def test_a_rising_value_rises():
    values = [0.1, 0.2, 0.4, 0.8]
    rows = [{"epoch": k, "val": {"det_acc": 0.9, "seg_iou": v}} for k, v in enumerate(values, 1)]
    columns, heights = columns_and_rows(draw_curves(rows), RED)
    assert columns.min() < 10
    assert columns.max() > PANEL_WIDTH - LEFT - RIGHT - 10
    assert heights[columns < 20].mean() > heights[columns > columns.max() - 20].mean() + 100


def test_gaps_do_not_fail():
    rows = [record(1, det_acc=0.1), {"epoch": 2}, record(3), record(4, det_acc=float("nan"))]
    assert draw_curves(rows) is not None


def test_losses_far_apart_share_a_logarithmic_axis():
    rows = [{"epoch": k, "train": {"mask": 100.0, "wh": 0.1 * k}} for k in range(1, 30)]
    columns, heights = columns_and_rows(draw_curves(rows), RED)
    early, late = heights[columns < 20].mean(), heights[columns > columns.max() - 20].mean()
    assert early - late > 60


@pytest.mark.parametrize(
    "values",
    [
        [1e-3],
        [0.0],
        [-2.0],
        [5, 5.1],
        [1.0, 1.0 + 1e-12],
        [0, 1e-9],
        [1e-7, 1e3],
        [-1, 4],
        [95, 99.5],
    ],
)
@pytest.mark.parametrize("log", [None, False])
def test_axes_hold_their_values(values, log):
    axis = _axis(values, log)
    assert 2 <= len(axis.ticks) <= 13
    for value in (*values, *axis.ticks):
        assert -1e-6 <= axis.place(value) <= 1 + 1e-6
    assert all(math.isfinite(tick) for tick in axis.ticks)
