"""Brightness, contrast and saturation, computed by hand."""

import numpy as np
import pytest
from PIL import Image

from data.loading.augmentation.color import recolored


def one_pixel(*rgb):
    return Image.fromarray(np.array([[rgb]], np.uint8))


def two_grays(low, high):
    return Image.fromarray(np.array([[[low] * 3, [high] * 3]], np.uint8))


@pytest.mark.parametrize(
    ("image", "factors", "expected"),
    [
        (one_pixel(100, 50, 10), (1.2, 1.0, 1.0), [[120, 60, 12]]),
        (one_pixel(250, 50, 10), (1.5, 1.0, 1.0), [[255, 75, 15]]),
        # The mean is 100; 80 is 20 below, 120 is 20 above.
        (two_grays(80, 120), (1.0, 1.5, 1.0), [[70] * 3, [130] * 3]),
        (two_grays(80, 120), (1.0, 0.5, 1.0), [[90] * 3, [110] * 3]),
        # Luminance: 0.299 · 200 + 0.587 · 100 + 0.114 · 50 = 124.2.
        (one_pixel(200, 100, 50), (1.0, 1.0, 0.5), [[162, 112, 87]]),
        (one_pixel(70, 70, 70), (1.0, 1.0, 0.5), [[70, 70, 70]]),
        (one_pixel(200, 100, 50), (1.0, 1.0, 1.0), [[200, 100, 50]]),
    ],
)
def test_changes_computed_by_hand(image, factors, expected):
    np.testing.assert_array_equal(np.asarray(recolored(image, *factors))[0], expected)
