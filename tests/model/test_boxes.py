"""Box formats and overlaps, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from model.boxes import cxcywh_to_xyxy, iou_xyxy


def test_cxcywh_to_xyxy():
    result = cxcywh_to_xyxy(tf.constant([[[10.0, 20.0, 4.0, 6.0]], [[0.5, 0.5, 1.0, 1.0]]]))
    np.testing.assert_array_equal(result, [[[8, 17, 12, 23]], [[0, 0, 1, 1]]])


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1),
        ((0, 0, 4, 4), (2, 0, 6, 4), 1 / 3),
        ((0, 0, 4, 4), (1, 1, 3, 2), 1 / 8),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0),  # touching
        ((0, 0, 4, 4), (5, 5, 8, 8), 0),  # apart in both directions
        ((0, 0, 4, 4), (2, 2, 2, 2), 0),  # empty
        ((1, 1, 1, 1), (2, 2, 2, 2), 0),  # both empty
        ((0, 0, 4, 4), (3, 3, 1, 1), 0),  # inside out
    ],
)
def test_iou(a, b, iou):
    a, b = tf.constant(a, tf.float32), tf.constant(b, tf.float32)
    assert float(iou_xyxy(a, b)) == float(iou_xyxy(b, a)) == pytest.approx(iou)


def test_iou_broadcasts():
    a = tf.constant([[[0.0, 0, 2, 2]], [[0, 0, 4, 4]]])  # (2, 1, 4)
    b = tf.constant([[0.0, 0, 2, 2], [0, 0, 4, 4], [1, 0, 3, 2]])  # (3, 4)
    np.testing.assert_allclose(iou_xyxy(a, b), [[1, 1 / 4, 1 / 3], [1 / 4, 1, 1 / 4]], rtol=1e-6)
