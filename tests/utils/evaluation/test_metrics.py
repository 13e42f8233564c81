"""IoU of single expressions, metrics over a set, and the registry that computes and prints them."""

import numpy as np
import pytest

from utils.evaluation import metrics as metrics_module
from utils.evaluation.metrics import (
    METRICS,
    PRECISION_THRESHOLDS,
    Metrics,
    detection_iou,
    format_summary,
    format_table,
    mask_iou,
    metric,
    percentages,
)


def test_box_iou_of_known_overlaps():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [2, 2, 4, 4]])
    others = np.array([[0, 0, 10, 10], [5, 5, 15, 15], [20, 20, 30, 30], [0, 0, 10, 10]])
    expected = [1, 25 / 175, 0, 4 / 100]
    np.testing.assert_allclose(detection_iou(boxes, others), expected, atol=1e-8)


def test_an_overlap_of_one_half_counts_as_correct():
    assert detection_iou([0, 0, 100, 100], [0, 0, 100, 50]) > 0.5
    assert detection_iou([0, 0, 100, 100], [0, 0, 100, 49.99]) < 0.5


def test_box_iou_broadcasts():
    table = detection_iou(np.zeros((3, 1, 4)), np.ones((1, 2, 4)))
    assert table.shape == (3, 2)


def test_mask_iou_counts_pixels():
    predicted, truth = np.zeros((4, 5), bool), np.zeros((4, 5), np.uint8)
    predicted[:2] = True
    truth[1:3] = 1
    iou, intersection, union = mask_iou(predicted, truth)
    assert (intersection, union) == (5, 15)
    assert iou == pytest.approx(1 / 3)


def test_every_value_but_zero_belongs_to_the_object():
    truth = np.array([[0, 1, 2]])
    assert mask_iou(truth > 0, truth) == (1.0, 2, 2)


def test_two_empty_masks_are_equal():
    assert mask_iou(np.zeros((2, 2)), np.zeros((2, 2)))[0] == 1.0


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(2, 3\)"):
        mask_iou(np.zeros((2, 2)), np.zeros((2, 3)))


def test_result_of_a_small_set():
    metrics = Metrics()
    metrics.update(0.9, 0.8, 80, 100)
    metrics.update([0.9, 0.2, 0.1], [0.3, 0.6, 0.0], [30, 6, 0], [100, 10, 50])
    result = metrics.result()
    assert result["n_expressions"] == 4
    assert result["det_acc"] == 0.5
    assert result["seg_iou"] == pytest.approx(1.7 / 4)
    assert result["overall_iou"] == pytest.approx(116 / 260)
    assert result["ie_score"] == 0.5
    assert result["box_acc"] == {"0.75": 0.5, "0.9": 0.0, "0.5:0.95": pytest.approx(0.4)}
    assert list(result["seg_prec"]) == [f"{t:g}" for t in PRECISION_THRESHOLDS]
    assert result["seg_prec"]["0.5"] == 0.5
    assert result["seg_prec"]["0.75"] == 0.25
    assert result["seg_prec"]["0.8"] == 0.0


def test_thresholds_are_strict():
    metrics = Metrics(det_thresh=0.6)
    metrics.update([0.6, np.nextafter(0.6, 1)], [0.5, np.nextafter(0.5, 1)], [1, 1], [2, 2])
    result = metrics.result()
    assert result["det_acc"] == 0.5
    assert result["seg_prec"]["0.5"] == 0.5
    assert result["ie_score"] == 0.0


def test_box_accuracies_of_exact_overlaps():
    """Overlaps of exactly a threshold are above it, by the epsilon of `detection_iou`."""
    wholes = np.array([[0, 0, 100, 100]] * 4)
    parts = np.array([[0, 0, 100, height] for height in (75, 90, 95, 74)])
    metrics = Metrics()
    ious = detection_iou(wholes, parts)
    metrics.update(ious, *[np.zeros(4)] * 3)
    # Of the thresholds 0.5 to 0.95, the overlaps exceed 6, 9, 10 and 5.
    assert metrics.result()["box_acc"] == {
        "0.75": 0.75, "0.9": 0.5, "0.5:0.95": pytest.approx(30 / 40),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tasks", "names"),
    [
        (["REC"], {"det_acc", "box_acc"}),
        (["RES"], {"seg_iou", "overall_iou", "seg_prec"}),
        (["RES", "REC"], {*METRICS}),
    ],
)
def test_metrics_of_one_task(tasks, names):
    metrics = Metrics(tasks=tasks)
    metrics.update([0.9, 0.2], [0.3, 0.6], [30, 6], [100, 10])
    result = metrics.result()
    assert result.keys() == {"n_expressions"} | names
    table = format_table(result, "one task")
    assert ("Acc@0.75" in table) == ("REC" in tasks)
    assert ("gIoU" in table) == ("RES" in tasks)
    assert ("inconsistency" in table) == (len(tasks) == 2)


def test_merged_sums_of_workers_equal_those_of_one():
    rng = np.random.default_rng(0)
    rows = rng.uniform(size=(100, 4))
    whole, first, second = Metrics(), Metrics(), Metrics()
    whole.update(*rows.T)
    first.update(*rows[:37].T)
    for row in rows[37:]:
        second.update(*row)
    first.merge(second)
    assert first.n_expressions == 100
    assert first.sums.keys() == whole.sums.keys() == METRICS.keys()
    for name, sums in whole.sums.items():
        np.testing.assert_allclose(first.sums[name], sums, rtol=1e-12)
    with pytest.raises(ValueError, match="det_thresh"):
        first.merge(Metrics(0.75))


@pytest.mark.parametrize(
    "row", [(0.5, [0.5, 0.5], 1, 2), (0.5, np.nan, 1, 2), (np.zeros((1, 2)),) * 4]
)
def test_malformed_overlaps_are_refused(row):
    metrics = Metrics()
    with pytest.raises(ValueError, match="expression"):
        metrics.update(*row)
    assert metrics.n_expressions == 0
    assert not any(sums.any() for sums in metrics.sums.values())


def test_an_empty_set_has_no_result():
    with pytest.raises(ValueError, match="no expression"):
        Metrics().result()


@pytest.fixture
def result():
    metrics = Metrics()
    metrics.update([0.9] * 1234, [0.72346] * 1234, [1] * 1234, [4] * 1234)
    return metrics.result()


def test_table_shows_percent(result):
    table = format_table(result, "refcoco val")
    assert table.splitlines()[:2] == ["refcoco val", "  1,234 expressions"]
    assert "Acc@0.5              100.00 %" in table
    assert "mean IoU              72.35 % = mIoU = gIoU\n" in table
    assert "overall IoU           25.00 % = oIoU = cIoU\n" in table
    assert "Prec@0.75              0.00 %" in table
    assert "both inconsistency (IE)     0.00 %" in table
    assert "Acc@0.25" in format_table(result, "", det_thresh=0.25)
    assert format_table(result, "", det_thresh=0.75).count("Acc@0.75") == 1


def test_every_metric_is_printed_and_logged(result):
    table = format_table(result, "refcoco val")
    rows = [row[7:27].strip() for row in table.splitlines()[2:]]
    precisions = [f"Prec@{threshold:g}" for threshold in PRECISION_THRESHOLDS]
    boxes = ["Acc@0.75", "Acc@0.9", "Acc@0.5:0.95"]
    assert rows == ["Acc@0.5", *boxes, "mean IoU", "overall IoU", *precisions, "inconsistency (IE)"]
    assert [row[2:6].strip() for row in table.splitlines()[2:]] == [
        "REC", *[""] * 3, "RES", *[""] * 11, "both",
    ]  # fmt: skip
    assert format_summary(result, 0.3) == (
        "Acc@0.3 100.00 %, mean IoU 72.35 %, overall IoU 25.00 %, inconsistency (IE) 0.00 %"
    )
    numbers = percentages(result)
    assert list(numbers) == [
        "Acc@0.5", *boxes, "mean IoU", "overall IoU", *precisions, "inconsistency (IE)",
    ]  # fmt: skip
    assert numbers["Prec@0.7"] == 100.0


def test_a_registered_metric_appears_everywhere(monkeypatch):
    monkeypatch.setattr(metrics_module, "METRICS", dict(METRICS))

    @metric("area", task="REC", label="union @{det_thresh} of {part}", parts=["masks", "half"])
    def mean_union(overlaps):
        return np.stack([overlaps.union, overlaps.union / 2], axis=1), overlaps.ones

    metrics = Metrics()
    metrics.update([0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [1, 2, 3], [4, 5, 9])
    result = metrics.result()
    assert result["area"] == {"masks": 6.0, "half": 3.0}
    assert percentages(result, 0.75)["union @0.75 of half"] == 300.0
    table = format_table(result, "").splitlines()
    assert table[2].split() == ["REC", "Acc@0.5", "0.00", "%"]
    assert table[6].split() == ["union", "@0.5", "of", "masks", "600.00", "%"]
    with pytest.raises(ValueError, match="registered already"):
        metric("area", task="RES", label="")(mean_union)
    with pytest.raises(ValueError, match="'depth' is not one of"):
        metric("other", task="depth", label="")(mean_union)
