"""Differences of two dumps, against a plain paired bootstrap and by hand."""

import itertools
import json

import numpy as np
import pytest

from config.errors import UserError
from tests.utils.evaluation.cases import case
from utils.evaluation import metrics as metrics_module
from utils.evaluation.breakdown import bootstrap
from utils.evaluation.breakdown.differences import (
    changed,
    differences,
    format_change,
    format_differences,
    pair,
    read_dump,
)
from utils.evaluation.results.measurement import EARLIER


def line(index=0, **changes):
    return case(index, **changes).to_json()


def earlier(row):
    return {key: row[key] for key in EARLIER}


@pytest.fixture
def dumps():
    """Two systems on 20 expressions of 4 images, the second one better."""
    rng = np.random.default_rng(1)
    first, second = [], []
    for index in range(20):
        name, union = f"{index % 4}.png", int(rng.integers(50, 500))
        a, b = rng.integers(0, union, 2)
        box = rng.uniform(0, 1)
        for rows, pixels, iou in ((first, a, box), (second, max(a, b), min(box + 0.2, 1))):
            rows.append(line(index, image=name, det_iou=iou, seg_iou=pixels / union,
                             intersection=int(pixels), union=union))  # fmt: skip
    return first, second


RESAMPLED = list(itertools.product(range(4), repeat=4))


@pytest.fixture
def every_resample(monkeypatch):
    """All resamples of four images in place of some that are drawn."""
    counts = np.array([[drawn.count(image) for image in range(4)] for drawn in RESAMPLED], float)
    monkeypatch.setattr(bootstrap, "_weights", lambda images: iter([counts]))


def plain_bootstrap(dumps, value):
    """Interval of the difference of `value` of lists of rows, over all resamples of the images."""
    found = []
    for drawn in RESAMPLED:
        some = [
            [row for image in drawn for row in rows if row["image"] == f"{image}.png"]
            for rows in dumps
        ]
        found.append(value(some[1]) - value(some[0]))
    return np.percentile(found, [2.5, 97.5])


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("Acc@0.6", lambda rows: np.mean([row["det_iou"] > 0.6 for row in rows])),
        ("mean IoU", lambda rows: np.mean([row["seg_iou"] for row in rows])),
        ("overall IoU", lambda rows: sum(row["intersection"] for row in rows)
         / sum(row["union"] for row in rows)),
    ],
)  # fmt: skip
def test_intervals_are_those_of_a_paired_bootstrap(dumps, every_resample, label, value):
    (found,) = [one for one in differences(pair(*dumps), 0.6) if one.label == label]
    assert (found.first, found.second) == pytest.approx([value(rows) for rows in dumps], abs=1e-9)
    low, high = plain_bootstrap(dumps, value)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.is_clear == (low > 0)


def test_equal_dumps_do_not_differ(dumps):
    pairs = pair(dumps[0], list(reversed(dumps[0])))
    assert all((one.low, one.high) == (0, 0) for one in differences(pairs, 0.5))
    assert not any(one.is_clear for one in differences(pairs, 0.5))
    assert changed(pairs, "REC", 0.5) == ([], [])


def test_one_image_has_no_interval():
    found = differences(pair([line(0), line(1)], [line(0, det_iou=0.1), line(1)]), 0.5)
    assert (found[0].first, found[0].second) == (1, 0.5)
    assert np.isnan([found[0].low, found[0].high]).all()
    assert not found[0].is_clear
    assert format_differences(found).splitlines()[1].split() == [
        "Acc@0.5", "100.00", "50.00", "-50.00", "-",
    ]  # fmt: skip


def test_lines_are_paired_by_image_referent_and_expression():
    first = [line(0), line(1), line(0, image="b.png"), line(0), line(7)]
    second = [line(1, det_iou=0.1), line(0, det_iou=0.2), line(0, det_iou=0.3), line(9)]
    pairs = pair(first, second)
    assert [row["det_iou"] for row in pairs.second] == [0.2, 0.1, 0.3]
    assert pairs.only_first == ['b.png: "red box"', 'a.png: "red box"']
    assert pairs.only_second == ['a.png: "red box"']


def test_dumps_of_earlier_versions_have_no_mask_ids_and_pixels():
    first, second = [line(0), line(1)], [earlier(line(0, det_iou=0.1)), earlier(line(1))]
    pairs = pair(first, second)
    assert [row["det_iou"] for row in pairs.second] == [0.1, 0.8]
    labels = [one.label for one in differences(pairs, 0.5)]
    assert "mean IoU" in labels
    assert "overall IoU" not in labels


def test_registered_metrics_of_pixels_need_them(monkeypatch):
    """Whatever metric is made from them, not those of known names."""
    monkeypatch.setattr(metrics_module, "METRICS", dict(metrics_module.METRICS))
    metrics_module.metric("large", task="RES", label="large")(
        lambda overlaps: (overlaps.union > 90, overlaps.ones)
    )
    rows = [line(0), line(1, image="b.png")]
    (found,) = [one for one in differences(pair(rows, rows), 0.5) if one.label == "large"]
    assert found.first == 1
    old = [earlier(row) for row in rows]
    assert "large" not in {one.label for one in differences(pair(old, rows), 0.5)}


def test_an_accuracy_is_listed_once():
    rows = [line(0, det_iou=0.8), line(1, det_iou=0.7)]
    labels = [one.label for one in differences(pair(rows, rows), 0.75)]
    assert labels.count("Acc@0.75") == 1
    assert "Acc@0.9" in labels


def test_dumps_with_different_truth_are_not_compared():
    first = [line(0), line(1)]
    second = [line(0), line(1, true_box_xyxy=(0, 0, 11, 10))]
    with pytest.raises(UserError) as error:
        pair(first, second)
    assert str(error.value) == (
        'the true boxes of 1 expression differ, such as that of a.png: "red box": [0, 0, 10, 10] '
        "in the first dump, [0, 0, 11, 10] in the second one; compare dumps of the same annotations"
    )
    assert pair(first, [earlier(row) for row in second]).first == first  # It is not known.


def test_boxes_of_networks_and_other_systems_are_compared_in_one_frame():
    """IoU by hand: 8 · 10 / 100 of a box that lacks a fifth of the true one."""
    box = {"box_xyxy": (0.0, 0.0, 8.0, 10.0), "det_iou": 0.75}
    network = [line(0, box_xyxy_input=(0, 0, 3, 4), **box), line(1, box_xyxy_input=(0, 0, 4, 4))]
    other = [line(0, **box), line(1, box_xyxy=None, det_iou=0.0)]
    pairs = pair(network, other)
    assert [row["det_iou"] for row in pairs.first] == pytest.approx([0.8, 1])
    assert [row["det_iou"] for row in pairs.second] == pytest.approx([0.8, 0])
    (note,) = pairs.notes
    assert "in pixels of the image, because those of A alone were rounded" in note
    same = pair(network, network)  # As they were evaluated.
    assert [row["det_iou"] for row in same.first] == [0.75, 0.8]
    assert same.notes == []
    # The true boxes of the other dump are those of an earlier one, too.
    assert pair([earlier(row) for row in network], other).first[0]["det_iou"] == pytest.approx(0.8)


def rounded_lines(side):
    """Boxes of a network with an input of `side` pixels, in images of 640 × 480."""
    rng, scale = np.random.default_rng(3), side / 640
    rows = []
    for index in range(9):
        (x1, y1), size = rng.uniform(0, 200, 2), rng.uniform(60, 240, 2)
        box = np.array([x1, y1, x1 + size[0], y1 + size[1]])
        inside = np.rint(box * scale + (0, side / 8, 0, side / 8)).astype(int)
        rows.append(line(index, image=f"{index // 2}.png", box_xyxy=tuple(box),
                         box_xyxy_input=tuple(inside)))  # fmt: skip
    return [*rows, line(9, image="x.png", box_xyxy=None, box_xyxy_input=None, det_iou=0.0)]


@pytest.mark.parametrize(("a", "b", "ratio"), [(416, 608, "1.46"), (608, 576, "0.95")])
def test_inputs_of_different_sizes_are_noted(a, b, ratio):
    (note,) = pair(rounded_lines(a), rounded_lines(b)).notes
    assert f"the input of the network of B is about {ratio} times as large as that of A" in note


def test_inputs_of_equal_sizes_need_no_note():
    assert pair(rounded_lines(416), rounded_lines(416)).notes == []


def test_only_what_both_have_is_compared():
    boxes = [line(0, tasks=("REC",))]
    pairs = pair(boxes, [line(0)])
    assert pairs.tasks == ("REC",)
    assert [one.label for one in differences(pairs, 0.5)] == [
        "Acc@0.5", "Acc@0.75", "Acc@0.9", "Acc@0.5:0.95",
    ]  # fmt: skip
    with pytest.raises(UserError, match="one dump has boxes and the other one masks"):
        pair(boxes, [line(0, tasks=("RES",))])
    with pytest.raises(
        UserError, match=r'no expression in common: .* a\.png: "red box", .* b\.png'
    ):
        pair(boxes, [line(0, image="b.png")])


def test_expressions_that_changed_come_with_the_largest_change_first():
    first = [line(i, det_iou=iou, seg_iou=0.5) for i, iou in enumerate((0.5, 0.4, 0.9, 0.6, 0.2))]
    second = [line(i, det_iou=iou, seg_iou=0.6) for i, iou in enumerate((0.6, 0.9, 0.5, 0.7, 0.1))]
    pairs = pair(first, second)
    assert changed(pairs, "REC", 0.5) == ([1, 0], [2])
    assert changed(pairs, "RES", 0.9) == ([0, 1, 2, 3, 4], [])
    assert pairs.change(1) == pytest.approx(0.6)
    assert pairs.change(2) == pytest.approx(0.5)  # The box is worse, the mask better.
    assert format_change(pairs, 1) == (
        'a.png: "red box": box IoU 0.40 -> 0.90, mask IoU 0.50 -> 0.60'
    )


def test_the_table_marks_clear_differences(dumps):
    lines = format_differences(differences(pair(*dumps), 0.5)).splitlines()
    assert lines[0].split() == ["A", "B", "B", "-", "A", "95", "%", "interval"]
    (mean,) = [row for row in lines if row.startswith("mean IoU")]
    assert mean.endswith("] *")
    values = [np.mean([row["seg_iou"] for row in rows]) for rows in dumps]
    assert mean.split()[2:4] == [f"{100 * value:.2f}" for value in values]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"d\.jsonl: holds no expression"),
        ("{}\n", r"d\.jsonl:1: is not a line of a dump; write one with test\.py --dump"),
        (json.dumps(line()) + "\n[\n", r"d\.jsonl:[23]: not valid JSON"),
        (json.dumps(line() | {"det_iou": "x"}), r"d\.jsonl:1: key 'det_iou' is \"x\", must be an"),
        (json.dumps(line() | {"seg_iou": 1.5}), r"d\.jsonl:1: key 'seg_iou' is 1.5, must be an"),
        (json.dumps(line() | {"union": -1}), r"d\.jsonl:1: key 'union' is -1, must be an overlap"),
        (
            json.dumps(line() | {"ref_id": []}),
            r"d\.jsonl:1: key 'ref_id' is \[\], must be a mask-id",
        ),
        (json.dumps(line() | {"true_box_xyxy": [1]}), r"d\.jsonl:1: key 'true_box_xyxy' is \[1\]"),
        (json.dumps(line() | {"image": 3}), r"d\.jsonl:1: key 'image' is 3, must be a text"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "d.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_dump(path)
