"""Mask probabilities are resized to the image."""

import cv2
import numpy as np
import pytest

from data.loading.letterbox import Letterbox
from utils.prediction.masks import place_mask, place_masks

SIDE = 96


def placed(probability, boxes, scores, geometry, use_nls=True):
    return place_masks(probability, np.array(boxes), np.array(scores), geometry, use_nls)


@pytest.mark.parametrize("size", [(200, 70), (48, 48), (30, 111)])
@pytest.mark.parametrize("use_nls", [True, False])
def test_each_map_is_resized_alone(size, use_nls):
    geometry = Letterbox.fit(*size, SIDE)
    probability = np.random.default_rng(0).uniform(size=(3, 12, 12)).astype(np.float32)
    boxes, scores = [(10, 20, 50, 60), (0, 0, 96, 96), (90, 90, 96, 91)], [0.9, 0.2, 0.5]
    result = placed(probability, boxes, scores, geometry, use_nls)
    assert result.shape == (size[1], size[0], 3)
    for k, ((left, top, right, bottom), score) in enumerate(zip(boxes, scores, strict=True)):
        square = cv2.resize(probability[k], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        if use_nls:
            weight = np.full((SIDE, SIDE), score, np.float32)
            weight[top : bottom + 1, left : right + 1] = 2 - score
            square = square * weight
        inner = square[
            geometry.top : geometry.top + geometry.new_height,
            geometry.left : geometry.left + geometry.new_width,
        ]
        expected = cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(result[..., k], expected, atol=1e-6)


def test_one_map():
    geometry = Letterbox.fit(60, 96, SIDE)
    result = placed(np.ones((1, 12, 12), np.float32), [(0, 0, 96, 96)], [1.0], geometry)
    np.testing.assert_allclose(result, np.ones((96, 60, 1)))


def test_more_maps_than_opencv_has_channels():
    geometry = Letterbox.fit(60, 96, SIDE)
    probability = np.random.default_rng(0).uniform(size=(200, 12, 12)).astype(np.float32)
    boxes, scores = np.tile([10, 20, 50, 60], (200, 1)), np.full(200, 0.7, np.float32)
    result = place_masks(probability, boxes, scores, geometry)
    assert result.shape == (96, 60, 200)
    alone = place_mask(probability[199], boxes[199], scores[199], geometry)
    np.testing.assert_array_equal(result[..., 199], alone)
