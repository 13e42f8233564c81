"""Boxes, masks and captions are drawn in the right places."""

import numpy as np
import pytest

from utils.visualization.drawing import draw_prediction
from utils.visualization.palette import PREDICTED, TRUTH

GRAY = 120


def scene(height=100, width=100):
    return np.full((height, width, 3), GRAY, np.uint8)


def near(picture, colour):
    """Pixels of approximately the given colour."""
    return np.abs(picture.astype(int) - colour).max(axis=-1) < 12


def bounds(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_box_lies_where_predicted():
    panel = draw_prediction(scene(), "box", (20, 30, 60, 80), None, width=400)
    assert panel.dtype == np.uint8
    assert panel.shape[1] == 400
    drawn = bounds(near(panel[:400], PREDICTED))
    np.testing.assert_allclose(drawn, (80, 120, 240, 320), atol=3)
    middle = panel[200, 160]
    np.testing.assert_array_equal(middle, GRAY)


def test_mask_is_tinted_and_outlined():
    mask = np.zeros((100, 100), bool)
    mask[40:60, 10:50] = True
    panel = draw_prediction(scene(), "mask", None, mask, width=400)
    inside, outside = panel[200, 120].astype(int), panel[100, 120]
    np.testing.assert_array_equal(outside, GRAY)
    assert inside[0] > GRAY + 20
    assert inside[2] < GRAY - 20
    np.testing.assert_allclose(bounds(near(panel[:400], PREDICTED)), (40, 160, 200, 240), atol=5)


def test_a_hole_of_a_mask_stays_clear():
    mask = np.zeros((100, 100), bool)
    mask[20:80, 20:80] = True
    mask[40:60, 40:60] = False
    panel = draw_prediction(scene(), "ring", None, mask, width=400)
    np.testing.assert_array_equal(panel[200, 200], GRAY)


def test_truth_is_dashed_and_seen_over_the_same_box():
    box, mask = (20, 20, 80, 80), np.zeros((100, 100), np.uint8)
    mask[30:70, 30:70] = 1
    panel = draw_prediction(scene(), "both", box, None, box, mask, width=400)
    top_side = panel[80, 90:310]
    assert 0.3 < near(top_side, TRUTH).mean() < 0.75
    assert 0.1 < near(top_side, PREDICTED).mean() < 0.6
    mask_side = panel[119:123, 130:270]
    assert near(mask_side, TRUTH).any()
    assert not near(mask_side, PREDICTED).any()


def test_boxes_outside_are_drawn_at_the_border():
    panel = draw_prediction(scene(), "wide", (-500, -500, 900, 900), None, width=200)
    assert bounds(near(panel[:200], PREDICTED))[2] >= 196


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (300, 400)), ((640, 480), (400, 300)), ((50, 50), (400, 400))],
)
def test_pictures_of_any_size_fit_the_width(size, expected):
    green = scene(*size) * np.uint8([0, 2, 0])
    panel = draw_prediction(green, "x", None, None, width=400)
    photograph = bounds(near(panel, (0, 2 * GRAY, 0)))
    assert photograph[2] - photograph[0] + 1 == expected[1]
    assert photograph[3] - photograph[1] + 1 == expected[0]


def test_extreme_shapes_and_empty_masks_do_not_fail():
    panel = draw_prediction(scene(1, 900), "", (5, 0, 5, 0), np.zeros((1, 900), bool), width=120)
    assert panel.shape[1] == 120


def caption_rows(expression, **options):
    return draw_prediction(scene(), expression, None, None, width=300, **options).shape[0] - 300


def test_caption_grows_with_its_words_to_three_lines():
    one, two = caption_rows("left"), caption_rows("blue shirt " * 8)
    assert one < two < caption_rows("word " * 60) == caption_rows("word " * 600)
    assert caption_rows("left", score=0.5) > one


def test_nothing_is_called_predicted_where_nothing_is_drawn():
    for score in (None, 0.1):
        panel = draw_prediction(scene(), "x", None, None, score=score)
        assert not near(panel, PREDICTED).any()
    assert near(draw_prediction(scene(), "x", (1, 1, 9, 9), None)[480:], PREDICTED).any()


def test_text_without_spaces_is_wrapped():
    assert caption_rows("x" * 2000) == caption_rows("word " * 60)


def test_words_differ_in_the_picture():
    first = draw_prediction(scene(), "left one", None, None)
    second = draw_prediction(scene(), "right one", None, None)
    assert (first[480:] != second[480:]).any()


def test_letters_beyond_ascii():
    shown = draw_prediction(scene(), "größte Tür, çà et là", None, None)
    plain = draw_prediction(scene(), "grobte Tur, ca et la", None, None)
    assert (shown[480:] != plain[480:]).any()


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)]
)
def test_images_that_are_not_uint8_rgb_are_refused(image):
    with pytest.raises(ValueError, match="image must be uint8"):
        draw_prediction(image, "x", None, None)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(50, 100\) for an image of shape \(100, 100, 3\)"):
        draw_prediction(scene(), "x", None, np.zeros((50, 100), bool))
