"""Metrics and intervals of the groups of a set, and their table."""

import json
import time

import numpy as np
import pytest

from tests.utils.evaluation.cases import case
from utils.evaluation.breakdown.figures import figures, format_breakdown
from utils.evaluation.metrics import METRICS, Metrics

# Two small objects and a large one, on two images.
CASES = [
    case(0, det_iou=0.9, seg_iou=0.8, intersection=80, union=100, true_px=90),
    case(1, det_iou=0.2, seg_iou=0.6, intersection=30, union=50, expression="left dog by the cat",
         true_px=40),
    case(2, det_iou=0.6, seg_iou=0.1, intersection=100, union=1000, image="b.png",
         true_box_xyxy=(0, 0, 100, 100), true_px=9216, category=3, expression="left"),
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


def test_each_group_has_its_own_figures(found):
    """Those of the whole set if it has no other expressions."""
    small = figures(CASES[:2], 0.5)
    of_group = found["breakdown"]["size"]["small"]
    metrics = Metrics()
    metrics.update(*(np.array([getattr(c, name) for c in CASES[:2]])
                     for name in ("det_iou", "seg_iou", "intersection", "union")))  # fmt: skip
    assert {key: of_group[key] for key in METRICS} == {
        key: pytest.approx(value) for key, value in metrics.result().items() if key in METRICS
    }
    assert small["breakdown"]["size"].keys() == {"small"}


def test_names_of_categories():
    found = figures(CASES, 0.5, categories={"0": "person", "1": "bicycle"})
    assert list(found["breakdown"]["category"]) == ["person", "category 3"]


def test_thousands_of_expressions_in_hundreds_of_categories():
    """Within seconds of processor time, as larger sets."""
    rng = np.random.default_rng(2)
    ious, categories = rng.uniform(size=9_000), rng.integers(0, 365, 9_000)
    cases = [
        case(i, image=f"{i // 5}.png", det_iou=ious[i], category=int(categories[i]))
        for i in range(9_000)
    ]
    started = time.process_time()
    found = figures(cases, 0.5, ["REC"])
    assert time.process_time() - started < 20
    groups = found["breakdown"]["category"]
    assert len(groups) == 365
    assert sum(group["n_expressions"] for group in groups.values()) == 9_000
    chosen = ious[categories == 7]
    assert groups["category 7"]["det_acc"] == pytest.approx((chosen > 0.5).mean())
    low, high = groups["category 7"]["intervals_95"]["det_acc"]
    # Expressions of one category are on images of their own, nearly: as of independent ones.
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(len(chosen)), rel=0.25)


def test_metrics_of_one_task():
    cases = [case(index, det_iou=0.7) for index in range(2)]
    found = figures(cases, 0.5, ["REC"])
    assert found["intervals_95"].keys() == {"det_acc", "box_acc"}
    assert found["breakdown"]["box_size"]["small"]["det_acc"] == 1
    assert "size" not in found["breakdown"]  # Nothing is known about masks.
    table = format_breakdown(found | {"det_acc": 1.0, "n_expressions": 2})
    assert "size of the box" in table
    assert "size of the object" not in table


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
