"""Outlines are visible on any color and leave what they surround as it is."""

import itertools

import numpy as np
import pytest

from utils.visualization.drawing import draw_prediction
from utils.visualization.outlines import Pen, draw_box, draw_mask_outline, pen_of
from utils.visualization.palette import PREDICTED, TRUTH

SIZE, LEFT, TOP, RIGHT, BOTTOM = 400, 120, 100, 280, 300
COLORS = {
    "orange": (230, 159, 0),
    "yellow": (240, 228, 66),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "sky blue": (86, 180, 233),
    "gray": (118, 118, 118),
}
NON_TEXT_CONTRAST = 3.0  # WCAG 2.1, 1.4.11


def luminance(color):
    """Relative luminance of an sRGB color, as WCAG 2.1 defines it."""
    channels = np.asarray(color, float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(first, second):
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def scene(inside, outside):
    image = np.full((SIZE, SIZE, 3), outside, np.uint8)
    image[TOP:BOTTOM, LEFT:RIGHT] = inside
    return image


def object_mask():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[TOP:BOTTOM, LEFT:RIGHT] = True
    return mask


def test_the_formula_of_contrast_is_that_of_wcag():
    assert contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize(("inside", "outside"), [*itertools.product(COLORS, COLORS)])
@pytest.mark.parametrize("what", ["box", "mask"])
def test_a_line_contrasts_with_both_sides(inside, outside, what):
    image = scene(COLORS[inside], COLORS[outside])
    box, mask = ((LEFT, TOP, RIGHT, BOTTOM), None) if what == "box" else (None, object_mask())
    panel = draw_prediction(image, "x", box, mask, width=SIZE)
    # Across the left side, half way down, where neither corners nor dashes are.
    line = panel[200, LEFT - 2 * pen_of(SIZE).radius - 1 : LEFT]
    core = int(np.argmin(np.abs(line.astype(int) - PREDICTED).sum(axis=-1)))
    sides = {outside: line[: core + 1], inside: line[core:]}
    for side, pixels in sides.items():
        best = max(contrast(pixel, COLORS[side]) for pixel in pixels)
        assert best >= NON_TEXT_CONTRAST, (side, best)
    # The core itself is next to a casing that it contrasts with: its hue is seen on any object.
    assert max(contrast(pixel, PREDICTED) for pixel in line) >= NON_TEXT_CONTRAST
    np.testing.assert_allclose(line[core], PREDICTED, atol=25)


@pytest.mark.parametrize(("size", "width"), [(300, 7), (480, 7), (1280, 13), (2048, 19)])
def test_lines_lie_outside_and_grow_with_the_picture(size, width):
    canvas = np.full((size, size, 3), 120, np.uint8)
    first, last = size // 4, size // 2
    draw_box(canvas, (first, first, last, last), PREDICTED, pen_of(size))
    drawn = (canvas != 120).any(axis=-1)
    expected = np.zeros_like(drawn)
    expected[first - width : last + width, first - width : last + width] = True
    expected[first:last, first:last] = False
    # Corners are round.
    assert not (drawn & ~expected).any()
    assert (expected & ~drawn).sum() < 4 * width**2 / 4
    np.testing.assert_array_equal(drawn[(first + last) // 2], expected[(first + last) // 2])


def test_the_layers_of_a_line_are_those_of_its_pen():
    canvas = np.full((60, 60, 3), 120, np.uint8)
    draw_box(canvas, (20, 20, 40, 40), PREDICTED, Pen(core=1, casing=2))
    black, white = [(0, 0, 0)] * 2, [(255, 255, 255)] * 2
    expected = [*black, *white, *[PREDICTED] * 3, *white, *black]
    np.testing.assert_array_equal(canvas[30, 20 - 11 : 20], expected)
    np.testing.assert_array_equal(canvas[40 : 40 + 11, 30], expected)


def test_the_outline_of_a_mask_covers_none_of_it_and_enters_its_hole():
    mask = object_mask()
    mask[170:230, 170:230] = False
    canvas = np.full((SIZE, SIZE, 3), 120, np.uint8)
    draw_mask_outline(canvas, mask, TRUTH, Pen(2, 1))
    drawn = (canvas != 120).any(axis=-1)
    assert not drawn[mask].any()
    # The line of the hole lies in it, and both touch the mask.
    np.testing.assert_array_equal(np.flatnonzero(drawn[200, 170:230]), [*range(9), *range(51, 60)])
    np.testing.assert_array_equal(np.flatnonzero(drawn[200, :LEFT]), range(LEFT - 9, LEFT))


def test_no_pixel_of_a_curved_mask_is_covered():
    y, x = np.mgrid[:SIZE, :SIZE]
    for radius in (3, 40, 77.7):
        mask = np.hypot(x - 200, 0.6 * (y - 190)) <= radius
        for dashed in (False, True):
            canvas = np.full((SIZE, SIZE, 3), 120, np.uint8)
            draw_mask_outline(canvas, mask, TRUTH, Pen(2, 1), dashed)
            drawn = (canvas != 120).any(axis=-1)
            assert drawn.any()
            assert not drawn[mask].any()


def test_an_empty_mask_has_no_outline():
    canvas = np.full((50, 60, 3), 120, np.uint8)
    draw_mask_outline(canvas, np.zeros((50, 60), bool), TRUTH, Pen(2, 1))
    assert (canvas == 120).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 500), (40, 40)])
def test_masks_and_boxes_that_fill_the_picture_are_drawn_inside(shape):
    canvas = np.full((*shape, 3), 120, np.uint8)
    draw_mask_outline(canvas, np.ones(shape, bool), TRUTH, Pen(2, 1), dashed=True)
    draw_box(canvas, (-9, -9, 999, 999), PREDICTED, Pen(2, 1))
    assert (canvas != 120).any()
    if shape == (40, 40):
        for side in (canvas[0], canvas[-1], canvas[:, 0], canvas[:, -1]):
            assert (side != 120).any()
