"""Mask probabilities are resized to the image."""

import cv2
import numpy as np
import pytest

from data.loading.letterbox import Letterbox
from utils.prediction.masks import place_mask

SIDE = 96


@pytest.mark.parametrize("size", [(200, 70), (48, 48), (30, 111)])
@pytest.mark.parametrize("use_nls", [True, False])
def test_a_map_is_weighed_and_resized(size, use_nls):
    geometry = Letterbox.fit(*size, SIDE)
    probability = np.random.default_rng(0).uniform(size=(3, 12, 12)).astype(np.float32)
    boxes, scores = [(10, 20, 50, 60), (0, 0, 96, 96), (90, 90, 96, 91)], [0.9, 0.2, 0.5]
    for k, ((left, top, right, bottom), score) in enumerate(zip(boxes, scores, strict=True)):
        result = place_mask(probability[k], np.array(boxes[k]), score, geometry, use_nls)
        assert result.shape == (size[1], size[0])
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
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_full_map_stays_full():
    geometry = Letterbox.fit(60, 96, SIDE)
    result = place_mask(np.ones((12, 12), np.float32), np.array([0, 0, 96, 96]), 1.0, geometry)
    np.testing.assert_allclose(result, np.ones((96, 60)))
