"""Suppression of mask probabilities outside the box and their boost inside."""

import numpy as np
import pytest

from model.nls import asnls, hard_suppression

SIDE = 6


def maps(count=2):
    return np.random.default_rng(0).uniform(size=(SIDE, SIDE, count)).astype(np.float32)


def test_asnls_by_hand():
    probability = np.full((SIDE, SIDE, 1), 0.5, np.float32)
    result = asnls(probability, [(1, 2, 3, 4)], [0.8])
    expected = np.full((SIDE, SIDE), 0.5 * 0.8)
    expected[2:5, 1:4] = 0.5 * 1.2  # including the last row and column of the box
    np.testing.assert_allclose(result[..., 0], expected, rtol=1e-6)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(probability, 0.5)  # unchanged


def test_every_map_has_its_own_box_and_score():
    boxes, scores = [(0, 0, 2, 2), (3, 1, 5, 5)], [0.9, 0.1]
    together = asnls(maps(), boxes, scores)
    for k in range(2):
        alone = asnls(maps()[..., k : k + 1], boxes[k : k + 1], scores[k : k + 1])
        np.testing.assert_array_equal(together[..., k : k + 1], alone)


def test_confidences_of_one_and_zero():
    box = [(1, 1, 4, 3)]
    inside = np.zeros((SIDE, SIDE, 1), bool)
    inside[1:4, 1:5] = True
    probability = maps(1)
    np.testing.assert_array_equal(asnls(probability, box, [1.0]), probability)
    unsure = asnls(probability, box, [0.0])
    np.testing.assert_allclose(unsure, np.where(inside, 2 * probability, 0), rtol=1e-6)
    np.testing.assert_array_equal(
        hard_suppression(probability, box), np.where(inside, probability, 0)
    )


@pytest.mark.parametrize(
    "box", [(0, 0, SIDE, SIDE), (0, 0, SIDE - 1, SIDE - 1), (-3, -2, SIDE + 5, SIDE + 1)]
)
def test_a_box_as_large_as_the_input(box):
    probability = maps(1)
    np.testing.assert_array_equal(hard_suppression(probability, [box]), probability)


def test_a_box_of_one_pixel_and_none_at_all():
    result = hard_suppression(maps(1), [(2, 3, 2, 3)])
    assert np.argwhere(result).tolist() == [[3, 2, 0]]
    assert asnls(np.zeros((SIDE, SIDE, 0), np.float32), np.zeros((0, 4), int), []).size == 0
