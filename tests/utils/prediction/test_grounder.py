"""A network run part by part, and its maps placed over the image."""

import cv2
import numpy as np
import pytest

from data.loading.letterbox import Letterbox
from model.decode import best_box, round_box
from model.mcn import build_mcn
from tests.tiny import ANCHORS, network_config, outputs_of, random_batch, scramble
from utils.prediction.grounder import Grounder, place_masks

SIDE = 96


def pixels(n=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


def ground(grounder, images, words, rows):
    features = grounder.encode_images(images)
    return grounder.locate(features, rows, grounder.encode_words(words))


def whole(model, images, words):
    """Box, rounded box, score and probability of pairs, by the whole network."""
    outputs = outputs_of(model, {"image": images.astype(np.float32) / 255, "words": words})
    boxes, scores = best_box(outputs["boxes"], ANCHORS, SIDE)
    probability = 1 / (1 + np.exp(-outputs["mask"][..., 0]))
    return np.array(boxes), np.array(round_box(boxes, SIDE)), np.array(scores), probability


def test_same_as_the_whole_network(network, grounder):
    images, words = pixels(), random_batch(network_config(), n=5)["words"]
    rows = [0, 2, 2, 1, 0]
    found = ground(grounder, images, words, rows)
    boxes, rounded, scores, probability = whole(network(), images[rows], words)
    np.testing.assert_allclose(found[0], boxes, atol=1e-3)
    np.testing.assert_array_equal(found[1], rounded)
    np.testing.assert_allclose(found[2], scores, atol=1e-5)
    np.testing.assert_allclose(found[3], probability, atol=1e-5)
    assert [part.dtype for part in found] == [np.float32, np.int32, np.float32, np.float32]


def test_one_pair(grounder):
    words = random_batch(network_config(), n=1)["words"]
    found = ground(grounder, pixels(1), words, [0])
    assert [part.shape for part in found] == [(1, 4), (1, 4), (1,), (1, 12, 12)]


def test_later_changes_of_the_weights_count():
    model = build_mcn(network_config())
    grounder = Grounder(model, ANCHORS)
    words = random_batch(network_config(), n=1)["words"]
    before = ground(grounder, pixels(1), words, [0])
    scramble(model, seed=3)
    after = ground(grounder, pixels(1), words, [0])
    assert np.abs(before[3] - after[3]).max() > 1e-3
    np.testing.assert_allclose(after[0], whole(model, pixels(1), words)[0], atol=1e-3)


def placed(probability, boxes, scores, geometry, use_nls=True):
    return place_masks(probability, np.array(boxes), np.array(scores), geometry, use_nls)


@pytest.mark.parametrize("size", [(200, 70), (48, 48), (30, 111)])
@pytest.mark.parametrize("use_nls", [True, False])
def test_place_masks_map_by_map(size, use_nls):
    geometry = Letterbox.fit(*size, SIDE)
    probability = np.random.default_rng(0).uniform(size=(3, 12, 12)).astype(np.float32)
    boxes, scores = [(10, 20, 50, 60), (0, 0, 96, 96), (90, 90, 96, 91)], [0.9, 0.2, 0.5]
    found = placed(probability, boxes, scores, geometry, use_nls)
    assert found.shape == (size[1], size[0], 3)
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
        np.testing.assert_allclose(found[..., k], expected, atol=1e-6)


def test_place_one_mask():
    geometry = Letterbox.fit(60, 96, SIDE)
    found = placed(np.ones((1, 12, 12), np.float32), [(0, 0, 96, 96)], [1.0], geometry)
    np.testing.assert_allclose(found, np.ones((96, 60, 1)))
