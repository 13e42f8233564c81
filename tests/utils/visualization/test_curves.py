"""Training curves show the values of the records."""

import sys

import numpy as np
import pytest

from utils.visualization.curves import DOTS_PER_INCH, PANEL_INCHES, _panels, draw_curves
from utils.visualization.palette import BLUE, VERMILION

WIDTH, HEIGHT = (round(inches * DOTS_PER_INCH) for inches in PANEL_INCHES)


def record(epoch, **val):
    return {"epoch": epoch, "train": {"loss": 1.0 / epoch, "learning_rate": 1e-3}, "val": val}


def columns_and_rows(picture, colour):
    """Pixels of a colour in the first panel, without its legend."""
    panel = picture[:HEIGHT, : round(0.7 * WIDTH)].astype(int)
    rows, columns = np.nonzero(np.abs(panel - colour).max(axis=-1) < 30)
    return columns, rows


def test_nothing_to_draw():
    assert draw_curves([]) is None
    assert draw_curves([{"epoch": 1, "train": {"loss": None, "seconds": 3.0}}]) is None


def test_a_panel_for_each_kind_of_value():
    one = draw_curves([{"epoch": 1, "val": {"det_acc": 0.5}}])
    assert one.shape == (HEIGHT, WIDTH, 3)
    assert one.dtype == np.uint8
    three = draw_curves([record(1, det_acc=0.5)])
    assert three.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    four = draw_curves([record(1, det_acc=0.5, seg_prec={"0.5": 0.4, "0.55": 0.3, "0.6": 0.2})])
    assert four.shape == three.shape
    assert (four[HEIGHT:, WIDTH:] != 255).any()
    assert (three[HEIGHT:, WIDTH:] == 255).all()


def test_a_rising_value_rises():
    values = [0.1, 0.2, 0.4, 0.8]
    rows = [{"epoch": k, "val": {"det_acc": 0.9, "seg_iou": v}} for k, v in enumerate(values, 1)]
    columns, heights = columns_and_rows(draw_curves(rows), VERMILION)
    assert np.ptp(columns) > 0.5 * WIDTH
    early, late = columns < columns.min() + 20, columns > columns.max() - 20
    assert heights[early].mean() > heights[late].mean() + 100


def test_averages_of_the_weights_have_curves_of_their_own():
    rows = [{"epoch": k, "val": {"det_acc": 0.5}} for k in (1, 2)]
    averaged = [{**row, "val_ema": {"det_acc": 0.9}} for row in rows]
    assert list(_panels(averaged, 0.5)["Validation, %"].items()) == [
        ("Acc@0.5", [(1, 50.0), (2, 50.0)]),
        ("Acc@0.5 (ema)", [(1, 90.0), (2, 90.0)]),
    ]
    assert list(_panels(rows, 0.5)["Validation, %"]) == ["Acc@0.5"]


def test_an_axis_near_zero_starts_there():
    rows = [{"epoch": k, "val": {"det_acc": v, "seg_iou": 0.0}} for k, v in enumerate((0.5, 1), 1)]
    picture = draw_curves(rows)
    (_, upper), (_, lower) = (columns_and_rows(picture, colour) for colour in (BLUE, VERMILION))
    assert (lower.min() - upper.min()) / (lower.min() - upper.max()) == pytest.approx(2, abs=0.1)


def test_missing_values_are_skipped():
    rows = [record(1, det_acc=0.1), {"epoch": 2}, record(3), record(4, det_acc=float("nan"))]
    with_gaps = draw_curves(rows)
    assert columns_and_rows(with_gaps[:, WIDTH:], BLUE)[0].size
    np.testing.assert_array_equal(with_gaps, draw_curves([*rows[:3], record(4)]))


def test_losses_far_apart_share_a_logarithmic_axis():
    rows = [{"epoch": k, "train": {"mask": 100.0, "wh": 0.1 * k}} for k in range(1, 30)]
    columns, heights = columns_and_rows(draw_curves(rows), VERMILION)
    early, late = columns < columns.min() + 20, columns > columns.max() - 20
    assert heights[early].mean() - heights[late].mean() > 60


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
@pytest.mark.parametrize(("part", "name"), [("train", "loss"), ("val", "det_acc")])
@pytest.mark.filterwarnings("error")
def test_axes_hold_their_values(values, part, name):
    rows = [{"epoch": k, part: {name: value}} for k, value in enumerate(values, 1)]
    columns, heights = columns_and_rows(draw_curves(rows), BLUE)
    # The markers at both ends are not cut off.
    for end in {columns.min(), columns.max()}:
        assert np.ptp(heights[np.abs(columns - end) < 8]) >= 4
    assert (np.ptp(columns) > 0.5 * WIDTH) == (len(values) > 1)


def test_pyplot_is_not_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    assert draw_curves([record(1)]) is not None
