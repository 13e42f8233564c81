"""Windows have the size of the factor, contain the referent, and cut image, box and mask alike."""

import numpy as np
import pytest
from PIL import Image

from data.loading.augmentation.scale import Window, window_at


@pytest.mark.parametrize(
    ("size", "box", "factor", "place", "expected"),
    [
        # Twice as large: half the width and height, anywhere that contains the box.
        ((100, 60), (40, 20, 60, 30), 2.0, (0.0, 0.0), Window(10, 0, 50, 30)),
        ((100, 60), (40, 20, 60, 30), 2.0, (1.0, 1.0), Window(40, 20, 50, 30)),
        ((100, 60), (40, 20, 60, 30), 2.0, (0.5, 0.5), Window(25, 10, 50, 30)),
        # The box needs more than the factor leaves, in width only.
        ((100, 60), (10, 20, 90, 30), 2.0, (0.3, 0.0), Window(10, 0, 80, 30)),
        # Half as large: twice the width and height, the image anywhere inside.
        ((100, 60), (40, 20, 60, 30), 0.5, (0.0, 1.0), Window(-100, 0, 200, 120)),
        ((100, 60), (40, 20, 60, 30), 0.5, (0.5, 0.5), Window(-50, -30, 200, 120)),
        # The part of a box outside of the image need not be seen.
        ((100, 60), (-30, 0, 10, 80), 2.0, (0.0, 0.0), Window(0, 0, 50, 60)),
        ((100, 60), (90, 0, 130, 20), 2.0, (0.9, 0.0), Window(50, 0, 50, 30)),
        ((1, 1), (0, 0, 1, 1), 1.5, (0.5, 0.5), Window(0, 0, 1, 1)),
    ],
)
def test_windows_computed_by_hand(size, box, factor, place, expected):
    assert window_at(size, box, factor, place) == expected


def test_windows_always_contain_the_referent_or_the_image():
    rng = np.random.default_rng(0)
    for _ in range(500):
        width, height = rng.integers(1, 50, 2).tolist()
        x1, y1 = int(rng.integers(width)), int(rng.integers(height))
        x2, y2 = int(rng.integers(x1 + 1, width + 1)), int(rng.integers(y1 + 1, height + 1))
        factor, place = rng.uniform(0.5, 1.5), tuple(rng.random(2).tolist())
        window = window_at((width, height), (x1, y1, x2, y2), factor, place)
        left, top, right, bottom = window.box((x1, y1, x2, y2))
        assert min(left, top) >= 0
        assert right <= window.width
        assert bottom <= window.height
        # Nothing but image, or all of the image.
        inside = (window.left >= 0, window.left + window.width <= width)
        assert all(inside) or (window.left <= 0 and window.left + window.width >= width)


def test_image_box_and_mask_are_cut_together():
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6, 1).repeat(3, 2)
    mask = (pixels[:, :, 0] % 2).astype(np.uint8)
    window = Window(2, 1, 3, 2)
    np.testing.assert_array_equal(window.image(Image.fromarray(pixels)), pixels[1:3, 2:5])
    np.testing.assert_array_equal(window.mask(mask), mask[1:3, 2:5])
    assert window.box((3, 1, 5, 4)) == (1, 0, 3, 3)


def test_gray_and_background_surround_a_smaller_image():
    pixels = np.full((2, 3, 3), 9, np.uint8)
    window = Window(-1, -2, 5, 5)
    image, mask = np.full((5, 5, 3), 128), np.zeros((5, 5))
    image[2:4, 1:4], mask[2:4, 1:4] = 9, 1
    np.testing.assert_array_equal(window.image(Image.fromarray(pixels)), image)
    np.testing.assert_array_equal(window.mask(np.ones((2, 3), np.uint8)), mask)
    assert window.box((0, 0, 3, 2)) == (1, 2, 4, 4)
