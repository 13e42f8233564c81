"""Metrics and intervals of the groups of a set, and their table."""

import json

import numpy as np
import pytest

from tests.utils.evaluation.cases import case
from utils.evaluation.breakdown import bootstrap
from utils.evaluation.breakdown.figures import figures, format_breakdown
from utils.evaluation.metrics import METRICS, Metrics

# Two small objects and a large one, on two images.
CASES = [
    case(0, det_iou=0.9, seg_iou=0.8, intersection=80, union=100),
    case(1, det_iou=0.2, seg_iou=0.6, intersection=30, union=50, expression="left dog by the cat"),
    case(2, det_iou=0.6, seg_iou=0.1, intersection=100, union=1000, image="b.png",
         true_box_xyxy=(0, 0, 100, 100), category=3, expression="left"),
]  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return figures(CASES, 0.5)


def test_groups_hold_the_metrics_of_their_expressions(found):
    sizes = found["breakdown"]["size"]
    assert list(sizes) == ["small", "large"]
    small, large = sizes.values()
    assert (small["n_expressions"], large["n_expressions"]) == (2, 1)
    assert small["det_acc"] == 0.5
    assert small["box_acc"] == {"0.75": 0.5, "0.9": 0.0, "0.5:0.95": pytest.approx(0.4)}
    assert small["seg_iou"] == pytest.approx(0.7)
    assert small["overall_iou"] == pytest.approx(110 / 150)
    assert small["ie_score"] == 0.5
    assert large["overall_iou"] == pytest.approx(0.1)
    assert large["ie_score"] == 1
    assert small.keys() == {"n_expressions", "intervals_95", *METRICS}


def test_expressions_may_belong_to_several_groups_in_their_order(found):
    words = found["breakdown"]["words"]
    assert {name: group["n_expressions"] for name, group in words.items()} == {
        "spatial": 2, "attribute": 1, "relation": 1,
    }  # fmt: skip
    assert list(found["breakdown"]["category"]) == ["category 0", "category 3"]


def test_intervals_are_of_images(found):
    """Of two images, one, the other or both are drawn: the extremes are those of each alone."""
    assert found["intervals_95"]["det_acc"] == [0.5, 1.0]
    assert found["intervals_95"]["overall_iou"] == [pytest.approx(0.1), pytest.approx(110 / 150)]
    assert found["intervals_95"]["box_acc"]["0.75"] == [0, 0.5]
    assert found["breakdown"]["size"]["large"]["intervals_95"]["det_acc"] == [None, None]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_groups_that_are_computed_apart_have_the_same_figures(monkeypatch, found):
    monkeypatch.setattr("utils.evaluation.breakdown.figures._COLUMNS_AT_ONCE", 1)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 100)
    assert figures(CASES, 0.5) == found


def test_metrics_of_one_task():
    cases = [case(index, det_iou=0.7) for index in range(2)]
    found = figures(cases, 0.5, ["REC"])
    assert found["intervals_95"].keys() == {"det_acc", "box_acc"}
    assert found["breakdown"]["size"]["small"]["det_acc"] == 1


def test_the_table_shows_groups_and_intervals(found):
    metrics = Metrics()
    metrics.update(*(np.array([getattr(c, name) for c in CASES])
                     for name in ("det_iou", "seg_iou", "intersection", "union")))  # fmt: skip
    lines = format_breakdown(metrics.result() | found).splitlines()
    assert lines[0].split("  ")[-1].strip() == "inconsistency (IE)"
    assert "Acc@0.5" in lines[0]
    assert "Acc@0.75" not in lines[0]
    everything = lines[1].split()
    assert everything[:5] == ["all", "3", "66.67", "[50.00,", "100.00]"]
    assert lines[2] == "size of the object"
    assert lines[3].split()[:3] == ["small", "2", "50.00"]
    assert lines[4].split() == ["large", "1", "100.00", "10.00", "10.00", "100.00"]  # One image.
