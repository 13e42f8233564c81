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
        # The part of a box outside of the image need not be seen.
        ((100, 60), (-30, 0, 10, 80), 2.0, (0.0, 0.0), Window(0, 0, 50, 60)),
        ((100, 60), (90, 0, 130, 20), 2.0, (0.9, 0.0), Window(50, 0, 50, 30)),
        ((1, 1), (0, 0, 1, 1), 1.5, (0.5, 0.5), Window(0, 0, 1, 1)),
    ],
)
def test_windows_computed_by_hand(size, box, factor, place, expected):
    assert window_at(size, box, factor, place) == expected


def test_windows_always_lie_in_the_image_and_contain_the_referent():
    rng = np.random.default_rng(0)
    for _ in range(500):
        width, height = rng.integers(1, 50, 2).tolist()
        x1, y1 = int(rng.integers(width)), int(rng.integers(height))
        x2, y2 = int(rng.integers(x1 + 1, width + 1)), int(rng.integers(y1 + 1, height + 1))
        factor, place = rng.uniform(1, 1.5), tuple(rng.random(2).tolist())
        window = window_at((width, height), (x1, y1, x2, y2), factor, place)
        left, top, right, bottom = window.box((x1, y1, x2, y2))
        assert left >= 0
        assert top >= 0
        assert right <= window.width
        assert bottom <= window.height
        assert window.left >= 0
        assert window.top >= 0
        assert window.left + window.width <= width
        assert window.top + window.height <= height


def test_image_box_and_mask_are_cut_together():
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6, 1).repeat(3, 2)
    mask = (pixels[:, :, 0] % 2).astype(np.uint8)
    window = Window(2, 1, 3, 2)
    np.testing.assert_array_equal(window.image(Image.fromarray(pixels)), pixels[1:3, 2:5])
    np.testing.assert_array_equal(window.mask(mask), mask[1:3, 2:5])
    assert window.box((3, 1, 5, 4)) == (1, 0, 3, 3)
