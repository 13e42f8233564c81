"""The measures of gRefCOCO on a table worked out by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from utils.evaluation.breakdown import bootstrap
from utils.evaluation.generalized.metrics import (
    Samples,
    best_min_score,
    format_generalized,
    generalized_intervals,
    generalized_metrics,
)

# Target?, predicted at all?, score, pixels of intersection and union.
TABLE = [
    (True, True, 0.9, 80, 100),  # IoU 0.8
    (True, True, 0.6, 45, 50),  # IoU 0.9, not above it
    (True, True, 0.2, 10, 100),  # IoU 0.1
    (True, False, 0.8, 0, 60),  # predicted as no target
    (False, True, 0.3, 0, 30),
    (False, True, 0.7, 0, 20),
    (False, False, 0.0, 0, 0),
]


def samples(rows=TABLE):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    images = np.array([f"{number}.png" for number in range(len(rows))])
    return Samples(columns[0].astype(bool), columns[1].astype(bool), *columns[2:], images)


def test_measures_without_a_threshold():
    result = generalized_metrics(samples())
    assert result == {
        "n_expressions": 7,
        "n_no_target": 3,
        # Four targets with 0.8, 0.9, 0.1 and 0; one of three no-targets is right.
        "g_iou": pytest.approx((0.8 + 0.9 + 0.1 + 0 + 0 + 0 + 1) / 7),
        # The true mask of the missed target, and what is predicted where there is none.
        "c_iou": pytest.approx((80 + 45 + 10) / (100 + 50 + 100 + 60 + 30 + 20)),
        "n_acc": pytest.approx(1 / 3),
        "t_acc": pytest.approx(3 / 4),
        "pr": {"0.7": 0.5, "0.8": 0.5, "0.9": 0.25},
    }


def test_scores_below_the_threshold_are_those_of_no_target():
    result = generalized_metrics(samples(), 0.6)  # 0.6 itself is not below.
    assert result["g_iou"] == pytest.approx((0.8 + 0.9 + 0 + 0 + 1 + 0 + 1) / 7)
    # What is predicted beside "no target" counts where there is a target, and only there.
    assert result["c_iou"] == pytest.approx((80 + 45) / (100 + 50 + 100 + 60 + 0 + 20))
    assert (result["n_acc"], result["t_acc"]) == (pytest.approx(2 / 3), 0.5)
    assert result["pr"] == {"0.7": 0.5, "0.8": 0.5, "0.9": 0.25}


def plain_measures(masks, predicted_none):
    """gIoU, cIoU, N-acc, T-acc and Pr@0.8 of ReLA's evaluation, mask by mask."""
    total = above = intersections = unions = 0
    right = {True: 0, False: 0}  # With and without a target.
    for (predicted, true), none in zip(masks, predicted_none, strict=True):
        both, either = (predicted & true).sum(), (predicted | true).sum()
        if true.any():
            both = 0 if none else both
            iou = both / either
            right[True] += not none
            above += iou >= 0.8
        else:
            either = 0 if none else either
            iou = float(none)
            right[False] += none
        total, intersections, unions = total + iou, intersections + both, unions + either
    with_target = sum(true.any() for _, true in masks)
    n = len(masks)
    return [total / n, intersections / unions, right[False] / (n - with_target),
            right[True] / with_target, above / with_target]  # fmt: skip


def test_measures_are_those_of_a_plain_loop_over_masks():
    rng = np.random.default_rng(4)
    scores = rng.random(60)
    masks = []
    for number in range(60):
        true = rng.random((5, 6)) < (0.7 if number % 3 else 0.0)
        masks.append((true ^ (rng.random((5, 6)) < scores[number] / 3), true))
    found = np.array([predicted.any() for predicted, _ in masks])
    some = Samples(
        np.array([true.any() for _, true in masks]),
        found,
        scores,
        np.array([(predicted & true).sum() for predicted, true in masks]),
        np.array([(predicted | true).sum() for predicted, true in masks]),
        np.full(60, "a.png"),
    )
    for min_score in (None, 0.4):
        result = generalized_metrics(some, min_score)
        none = ~found if min_score is None else ~found | (scores < 0.4)
        values = [result[name] for name in ("g_iou", "c_iou", "n_acc", "t_acc")]
        assert [*values, result["pr"]["0.8"]] == pytest.approx(plain_measures(masks, none))


def test_an_empty_mask_of_a_found_target_has_no_overlap():
    result = generalized_metrics(samples([(True, True, 1.0, 0, 0)]))
    assert (result["g_iou"], result["t_acc"], result["n_acc"]) == (0.0, 1.0, None)
    result = generalized_metrics(samples([(False, True, 1.0, 0, 0)]))
    assert (result["g_iou"], result["t_acc"], result["n_acc"]) == (0.0, None, 0.0)
    assert result["pr"] == {"0.7": None, "0.8": None, "0.9": None}


def test_intervals_are_percentiles_of_resampled_images(monkeypatch):
    """Of three images with one, three and three expressions, whose resamples all are drawn."""
    images = np.array([f"{name}.png" for name in "abbbccc"])
    some = replace(samples(), images=images)
    drawn = list(itertools.product("abc", repeat=3))
    counts = np.array([[one.count(name) for name in "abc"] for one in drawn], float)
    monkeypatch.setattr(bootstrap, "_weights", lambda n: iter([counts]))
    found = generalized_intervals(some, 0.6)
    assert found["bootstrap"]["over"] == "images"
    expected = []
    for one in drawn:
        rows = [row for name in one for row, of in zip(TABLE, images, strict=True) if of[0] == name]
        expected.append(generalized_metrics(samples(rows), 0.6))
    for name in ("g_iou", "c_iou", "n_acc", "t_acc"):
        values = [one[name] for one in expected if one[name] is not None]
        wanted = np.percentile(values, [2.5, 97.5])
        # Expressions without a target are on one of the images only, which says nothing.
        bounds = [None, None] if name == "n_acc" else pytest.approx(wanted)
        assert found["intervals_95"][name] == bounds, name
    values = [one["pr"]["0.8"] for one in expected if one["pr"]["0.8"] is not None]
    assert found["intervals_95"]["pr"]["0.8"] == pytest.approx(np.percentile(values, [2.5, 97.5]))


def test_calibration_finds_the_highest_mean_iou():
    # The middle of 0.3 and 0.6 loses 0.1 and gains 1; that of 0.7 and 0.9 loses 1.0 and gains 2.
    assert best_min_score(samples()) == pytest.approx(0.8)
    assert best_min_score(samples(TABLE[:5])) == pytest.approx(0.45)
    everything_is_there = [row for row in TABLE if row[0]]
    assert best_min_score(samples(everything_is_there)) is None
    assert best_min_score(samples([(True, False, 0.0, 0, 5)])) is None


def test_a_threshold_may_be_above_all_scores():
    nothing_is_there = samples([(False, True, 0.3, 0, 9), (False, True, 0.7, 0, 9)])
    threshold = best_min_score(nothing_is_there)
    assert 0.7 < threshold < 0.70001
    assert generalized_metrics(nothing_is_there, threshold)["g_iou"] == 1.0


def test_scores_of_any_range_count_as_they_are():
    logits = [(True, True, -1.0, 9, 9), (False, True, -3.0, 0, 5)]
    assert generalized_metrics(samples(logits))["t_acc"] == 1.0
    assert best_min_score(samples(logits)) == -2.0
    assert generalized_metrics(samples(logits), -2.0)["g_iou"] == 1.0


def test_what_is_wrong_whatever_the_threshold_does_not_move_it():
    """A missing prediction for an expression without a target."""
    rows = [*TABLE, *[(False, True, np.inf, 0, 0)] * 5]
    assert best_min_score(samples(rows)) == best_min_score(samples()) == pytest.approx(0.8)
    assert generalized_metrics(samples(rows), 1e9)["n_acc"] == pytest.approx(3 / 8)
    assert best_min_score(samples(rows[-5:])) is None


def test_calibration_is_the_best_of_all_thresholds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 12))
        union = rng.integers(1, 100, n)
        target = rng.random(n) < 0.5
        some = Samples(
            target,
            rng.random(n) < 0.8,
            rng.integers(0, 6, n) / 5,  # With equal scores.
            np.where(target, rng.integers(0, union + 1), 0),
            union,
            np.full(n, "a.png"),
        )
        every = [
            generalized_metrics(some, float(t))["g_iou"]
            for t in itertools.chain([0.0], np.arange(0.1, 1.3, 0.2))
        ]
        chosen = generalized_metrics(some, best_min_score(some))["g_iou"]
        assert chosen == pytest.approx(max(every))


def test_the_table_names_the_measures():
    rows = [row for row in TABLE if row[0]]
    lines = format_generalized(generalized_metrics(samples(rows)), "a/val.txt", 0.25).splitlines()
    assert lines[:2] == ["a/val.txt", "  4 expressions, 0 without a target; min_score 0.25"]
    figures = {line.split()[0]: line.split()[1] for line in lines[2:]}
    assert figures == {
        "gIoU": "45.00", "cIoU": "43.55", "N-acc": "–", "T-acc": "75.00",
        "Pr@0.7": "50.00", "Pr@0.8": "50.00", "Pr@0.9": "25.00",
    }  # fmt: skip
