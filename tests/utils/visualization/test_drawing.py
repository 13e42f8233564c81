"""Boxes, masks and captions are drawn in the right places."""

import numpy as np
import pytest

from utils.visualization.drawing import draw_prediction
from utils.visualization.palette import MARK, PREDICTED, TRUTH

GRAY = 120


def scene(height=100, width=100):
    return np.full((height, width, 3), GRAY, np.uint8)


def near(picture, colour):
    """Pixels of approximately the given colour."""
    return np.abs(picture.astype(int) - colour).max(axis=-1) < 12


def bounds(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_box_lies_around_what_was_predicted():
    panel = draw_prediction(scene(), "box", (20, 30, 60, 80), None, width=400)
    assert panel.dtype == np.uint8
    assert panel.shape[1] == 400
    drawn = bounds(near(panel[:400], PREDICTED))
    np.testing.assert_allclose(drawn, (80 - 4, 120 - 4, 240 + 3, 320 + 3), atol=2)
    # Nothing within the box is touched.
    assert (panel[121:319, 81:239] == GRAY).all()


def test_mask_is_tinted_faintly_and_outlined():
    mask = np.zeros((100, 100), bool)
    mask[40:60, 10:50] = True
    panel = draw_prediction(scene(), "mask", None, mask, width=400)
    inside, outside = panel[200, 120].astype(int), panel[100, 120]
    np.testing.assert_array_equal(outside, GRAY)
    # 12 % of (230, 159, 0) and 88 % of 120.
    np.testing.assert_array_equal(inside, (133, 125, 106))
    drawn = bounds(near(panel[:400], PREDICTED))
    np.testing.assert_allclose(drawn, (40 - 4, 160 - 4, 200 + 3, 240 + 3), atol=3)


def test_no_color_is_changed_by_more_than_15_percent():
    mask = np.ones((100, 100), bool)
    for color in ((0, 0, 0), (255, 255, 255), (0, 0, 255), (240, 228, 66)):
        image = np.full((100, 100, 3), color, np.uint8)
        middle = draw_prediction(image, "all", None, mask, width=100)[50, 50].astype(int)
        assert (np.abs(middle - color) <= 0.15 * 255).all()


def test_the_image_itself_is_not_drawn_into():
    image = scene()
    draw_prediction(image, "x", (20, 30, 60, 80), np.ones((100, 100), bool), width=100)
    assert (image == GRAY).all()


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
    top_side = panel[80 - 4, 90:310]  # the core of the upper side
    assert 0.3 < near(top_side, TRUTH).mean() < 0.75
    assert 0.1 < near(top_side, PREDICTED).mean() < 0.6
    mask_side = panel[112:120, 130:270]
    assert near(mask_side, TRUTH).any()
    assert not near(mask_side, PREDICTED).any()


def test_boxes_outside_are_drawn_at_the_border():
    panel = draw_prediction(scene(), "wide", (-500, -500, 900, 900), None, width=200)
    assert bounds(near(panel[:200], PREDICTED))[2] >= 194


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (300, 400)), ((640, 480), (400, 300)), ((50, 50), (400, 400))],
)
def test_pictures_have_the_shape_of_the_photograph(size, expected):
    green = scene(*size) * np.uint8([0, 2, 0])
    panel = draw_prediction(green, "x", None, None, width=400)
    height, width = expected
    assert panel.shape[1] == width
    assert near(panel[:height], (0, 2 * GRAY, 0)).all()
    assert not near(panel[height:], (0, 2 * GRAY, 0)).any()


def test_only_very_narrow_pictures_have_margins():
    panel = draw_prediction(scene(400, 40), "x", None, None, width=400)
    assert panel.shape[1] == 200
    assert near(panel[:400], (GRAY,) * 3).mean() == 40 / 200
    assert (panel[:400, :80] == 255).all()


def test_a_large_photograph_keeps_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    panel = draw_prediction(image, "x", None, None, width=1200)
    np.testing.assert_array_equal(panel[:900], image)


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


def marked(expression, **words):
    """Pixels of the marks in a caption: (the rows of the expression, the legend)."""
    panel = draw_prediction(scene(), expression, None, None, width=480, **words)
    rows = near(panel[480:], MARK)
    return rows[: 12 + 25], rows[12 + 25 :]


def test_words_that_the_network_does_not_see_are_marked():
    plain, legend = marked("red zorblax box")
    assert not plain.any()
    assert not legend.any()
    unknown, legend = marked("red zorblax box", unknown_words=("zorblax",))
    assert legend.any()
    unread, _ = marked("red zorblax box", unread_words=("box",))
    # Unknown words are underlined and unread ones struck through, each at its place.
    left, top, right, _ = bounds(unknown)
    assert left > 35  # to the right of "red"
    later_left, _, _, later_bottom = bounds(unread)
    assert later_left > right
    assert later_bottom < top
    assert bounds(marked("a zorblax zorblax", unknown_words=("zorblax",))[0])[2] > right


def test_only_whole_words_are_marked_and_no_word_of_the_notice():
    assert not marked("boxes are red", unknown_words=("box",))[0].any()
    notice = {"unknown_words": ("nothing",), "nothing_found": True}
    assert not marked("red", **notice)[0].any()
    assert marked("nothing", **notice)[0].any()
    # The last words are those that are not read, also if they occur before.
    first, last = (bounds(marked(text, unread_words=("red",))[0]) for text in ("red", "red red"))
    assert last[0] > first[2]


def test_marks_follow_the_words_to_the_next_line():
    words = ("word " * 40).split()
    panel = draw_prediction(scene(), " ".join(words), None, None, width=480, unread_words=words[4:])
    rows = np.flatnonzero(near(panel[480:], MARK)[:80].any(axis=1))
    assert np.count_nonzero(np.diff(rows) > 5) == 2  # three lines of text


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
