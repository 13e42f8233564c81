"""The letterbox in the graph agrees with the one used in training."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.loading.letterbox import Letterbox, letterbox_image, unletterbox_box
from utils.export.letterbox import (
    fit_in_graph,
    letterbox_in_graph,
    place_mask_in_graph,
    scaled_side,
    unletterbox_box_in_graph,
)
from utils.prediction.masks import place_mask

SIDE = 96
# Height, width: enlarged, shrunk, square, extreme, and sizes that doubles cut a pixel short.
SIZES = [(60, 80), (200, 333), (240, 130), (96, 96), (31, 31), (3, 500), (1, 1), (49, 147)]


def on_grid(function):
    signature = [tf.TensorSpec((), tf.int32)] * 2
    return tf.function(function, input_signature=signature)


@pytest.mark.parametrize("input_size", [96, 416, 608])
def test_sides_are_truncated_as_with_doubles(input_size):
    rng = np.random.default_rng(0)
    longer = np.repeat(np.arange(1, 5000), 4)
    side = np.maximum((longer * rng.uniform(size=len(longer))).astype(int), 1)
    side[::4] = longer[::4]
    # Every other product is an integer.
    divisor = np.gcd(longer, input_size)[1::2]
    side[1::2] = longer[1::2] // divisor * rng.integers(1, divisor + 1)
    result = tf.function(scaled_side)(
        tf.constant(side, tf.int32), tf.constant(longer, tf.int32), input_size
    )
    pairs = list(zip(side.tolist(), longer.tolist(), strict=True))
    expected = [int(a * (input_size / b)) for a, b in pairs]
    np.testing.assert_array_equal(result, expected)
    assert (np.array(expected) < [a * input_size // b for a, b in pairs]).any()


def test_geometry():
    fit = on_grid(lambda height, width: vars(fit_in_graph(height, width, SIDE)))
    for height, width in [*SIZES, (4000, 3000), (100_000, 7)]:
        result = {key: int(value) for key, value in fit(height, width).items()}
        assert result == vars(Letterbox.fit(width, height, SIDE))


@pytest.mark.parametrize("size", [*SIZES, (1200, 900)])
def test_image(size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    result = letterbox_in_graph(tf.constant(pixels), fit_in_graph(*map(tf.constant, size), SIDE))
    expected = letterbox_image(Image.fromarray(pixels), SIDE)
    difference = np.abs(result - expected.astype(np.float32))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_width_comes_first_in_tall_images_too():
    """A single call of Pillow 13 resizes the height first, one of Pillow 12 the width."""
    pixels = np.random.default_rng(1).integers(0, 256, (600, 90, 3), dtype=np.uint8)
    geometry = Letterbox.fit(90, 600, SIDE)
    result = letterbox_in_graph(tf.constant(pixels), fit_in_graph(tf.constant(600), 90, SIDE))
    image = Image.fromarray(pixels)
    for size in ((geometry.new_width, 600), (geometry.new_width, geometry.new_height)):
        image = image.resize(size, Image.Resampling.BICUBIC)
    inner = result[:, geometry.left : geometry.left + geometry.new_width]
    assert np.abs(inner - np.asarray(image, np.float32)).max() <= 1


@pytest.mark.parametrize("use_nls", [True, False])
@pytest.mark.parametrize("size", [*SIZES, (480, 640)])
def test_mask(size, use_nls):
    height, width = size
    probability = np.random.default_rng(2).uniform(size=(12, 12)).astype(np.float32)
    box, score = np.array([10, 30, 96, 64], np.int32), np.float32(0.7)
    geometry = fit_in_graph(tf.constant(height), tf.constant(width), SIDE)
    result = place_mask_in_graph(
        tf.constant(probability), tf.constant(box), tf.constant(score), geometry, use_nls
    )
    expected = place_mask(probability, box, score, Letterbox.fit(width, height, SIDE), use_nls)
    np.testing.assert_allclose(result, expected, atol=2e-6)


@pytest.mark.parametrize("size", [(60, 80), (200, 70)])
def test_box(size):
    height, width = size
    box = np.array([-3.5, 10, 60.25, 97], np.float32)
    geometry = fit_in_graph(tf.constant(height), tf.constant(width), SIDE)
    expected = unletterbox_box(box, Letterbox.fit(width, height, SIDE))
    np.testing.assert_allclose(unletterbox_box_in_graph(box, geometry), expected, atol=1e-4)
