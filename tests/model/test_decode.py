"""Raw boxes to pixels."""

import numpy as np
import pytest
import tensorflow as tf

from model.decode import best_box, decode_grid, round_box
from model.losses import LossInputs, confidence_loss, wh_loss
from model.targets import box_targets

ANCHORS = np.array([(20, 24), (40, 40), (60, 50)], np.float32)


def raw_grid(n=1, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3, 3, 15)).astype(np.float32)


def test_every_cell_by_hand():
    raw = raw_grid()
    boxes, confidence = decode_grid(tf.constant(raw), ANCHORS, 96)
    assert boxes.shape == (1, 3, 3, 3, 4)
    for row in range(3):
        for column in range(3):
            for anchor in range(3):
                tx, ty, tw, th, logit = raw[0, row, column, 5 * anchor : 5 * anchor + 5]
                expected = [
                    (1 / (1 + np.exp(-tx)) + column) / 3,
                    (1 / (1 + np.exp(-ty)) + row) / 3,
                    np.exp(tw) * ANCHORS[anchor, 0] / 96,
                    np.exp(th) * ANCHORS[anchor, 1] / 96,
                ]
                place = (0, row, column, anchor)
                np.testing.assert_allclose(boxes[place], expected, rtol=1e-5)
                assert float(confidence[place]) == pytest.approx(1 / (1 + np.exp(-logit)))


def test_huge_boxes_are_numbers_that_files_can_hold():
    raw = np.full((1, 3, 3, 15), 3e38, np.float32)
    box, score = best_box(tf.constant(raw), ANCHORS, 96)
    assert np.abs(box).max() < 2**53
    assert float(score[0]) == 1


def test_best_box_by_hand():
    raw = np.zeros((2, 3, 3, 3, 5), np.float32)
    raw[..., 4] = -3
    raw[0, 1, 2, 1] = (0, 0, 0, 0, 2)
    raw[1, 2, 0, 0] = (0, 0, np.log(2), 0, 1)
    boxes, scores = best_box(tf.reshape(raw, (2, 3, 3, 15)), ANCHORS, 96)
    np.testing.assert_allclose(boxes, [(60, 28, 100, 68), (-4, 68, 36, 92)], atol=1e-4)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-2.0, -1.0])), rtol=1e-6)


def test_equal_confidences_go_to_the_first_in_order_of_row_column_anchor():
    raw = np.zeros((1, 3, 3, 3, 5), np.float32)
    for place in ((2, 0, 0), (1, 2, 0), (1, 1, 2), (1, 1, 1)):
        raw[(0, *place, 4)] = 1.0
    boxes, _ = best_box(tf.constant(raw), ANCHORS, 96)
    np.testing.assert_allclose(boxes[0], (28, 28, 68, 68), atol=1e-4)  # row 1, column 1, anchor 1


@pytest.mark.parametrize("log_size", [80, 89, 1e38])
def test_a_box_is_finite_whatever_its_size(log_size):
    raw = np.full((1, 3, 3, 3, 5), -3, np.float32)
    raw[0, 1, 1, 0] = (0, 0, log_size, 0, 2)
    box, _ = best_box(tf.constant(raw), ANCHORS, 96)
    assert np.isfinite(box).all()
    np.testing.assert_array_equal(round_box(box, 96), [[0, 36, 96, 60]])


def test_nan_is_never_the_most_confident():
    """All of NaN gives the first box, since the argmax of TFLite would be no index."""
    raw = np.full((2, 3, 3, 3, 5), np.nan, np.float32)
    raw[1, 1, 1, 1] = 0
    boxes, scores = best_box(tf.reshape(raw, (2, 3, 3, 15)), ANCHORS, 96)
    assert np.isnan(boxes[0]).all()
    np.testing.assert_allclose(boxes[1], (28, 28, 68, 68), atol=1e-4)
    np.testing.assert_array_equal(scores, [np.nan, 0.5])


def test_a_target_written_as_raw_boxes_decodes_to_its_box():
    box = np.array([(10, 40, 31, 62)], np.float32)
    target = np.array(box_targets(box, ANCHORS, 96))
    [(_, row, column, anchor)] = np.argwhere(target[..., 4])
    center = target[0, row, column, anchor, :2] * 3 - (column, row)
    raw = np.full((1, 3, 3, 3, 5), -9, np.float32)
    raw[0, row, column, anchor] = [
        *np.log(center / (1 - center)), *np.log((21, 22) / ANCHORS[anchor]), 9,
    ]  # fmt: skip
    result, score = best_box(tf.constant(raw), ANCHORS, 96)
    # The target's center is rounded down to whole pixels: (20, 51) for (20.5, 51).
    np.testing.assert_allclose(result[0], (9.5, 40, 30.5, 62), atol=1e-4)
    assert float(score[0]) > 0.999
    inputs = LossInputs({"boxes": raw}, target, None, ANCHORS, 96)
    assert float(wh_loss(inputs)) == pytest.approx(0, abs=1e-6)
    assert float(confidence_loss(inputs)) < 0.01


def test_round_box():
    boxes = [(0.5, 1.49, 9.5, 95.5), (-0.6, -7, 96.4, 200), (-0.4, 2.5, 3.5, 95.49)]
    result = round_box(tf.constant(boxes), 96)
    assert result.dtype == tf.int32
    np.testing.assert_array_equal(result, [(1, 1, 10, 96), (0, 0, 96, 96), (0, 3, 4, 95)])
