"""Which cell and anchor a box is assigned to."""

import numpy as np
import pytest

from model.targets import box_targets

ANCHORS = np.array([(20, 24), (40, 40), (60, 50)], np.float32)


def place_and_values(box, size=96, anchors=ANCHORS):
    """(row, column, anchor) and the five values of the only target of a box."""
    target = np.array(box_targets(np.array([box], np.float32), anchors, size))[0]
    [place] = np.argwhere(target[..., 4])
    assert np.count_nonzero(target.any(axis=-1)) == 1
    return tuple(place.tolist()), target[tuple(place)]


def test_one_box_by_hand():
    place, values = place_and_values((10, 40, 31, 62))
    assert place == (1, 0, 0)  # center (20, 51)
    np.testing.assert_allclose(values, [20 / 96, 51 / 96, 21 / 96, 22 / 96, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "anchor"), [((20, 24), 0), ((40, 40), 1), ((60, 50), 2), ((30, 60), 1), ((5, 5), 0)]
)
def test_anchor_of_most_overlap(size, anchor):
    (_, _, assigned), _ = place_and_values((0, 0, *size))
    assert assigned == anchor


def test_equal_overlaps_go_to_the_first_anchor():
    anchors = np.array([(20, 40), (40, 20), (20, 40)], np.float32)
    (_, _, assigned), _ = place_and_values((0, 0, 40, 40), anchors=anchors)
    assert assigned == 0
    (_, _, assigned), _ = place_and_values((0, 0, 30, 40), anchors=anchors)
    assert assigned == 0


@pytest.mark.parametrize("size", range(32, 1025, 32))
def test_a_center_on_a_cell_border_belongs_to_the_cell_behind_it(size):
    grid = size // 32
    corners = np.array([(32.0 * i - 8, 0, 32 * i + 8, 8) for i in range(1, grid)] or [(0, 0, 8, 8)])
    target = np.array(box_targets(corners, ANCHORS, size))
    expected = list(range(1, grid)) or [0]
    assert np.argwhere(target[..., 4])[:, 2].tolist() == expected
    turned = np.array(box_targets(corners[:, [1, 0, 3, 2]], ANCHORS, size))
    assert np.argwhere(turned[..., 4])[:, 1].tolist() == expected


def test_centers_are_rounded_down_to_whole_pixels_before_the_cell_is_chosen():
    place, values = place_and_values((20, 0, 43.9, 10))  # center 31.95, 5
    assert place[:2] == (0, 0)
    assert values[0] == np.float32(31 / 96)
    assert values[2] == pytest.approx(23.9 / 96)


def test_last_pixel_is_in_the_last_cell():
    place, _ = place_and_values((95, 95, 96, 96))
    assert place[:2] == (2, 2)


def test_a_box_without_width_has_no_target():
    boxes = np.array([(10, 10, 10, 30), (10, 10, 30, 30)], np.float32)
    target = np.array(box_targets(boxes, ANCHORS, 96))
    assert np.isfinite(target).all()
    assert not target[0].any()
    assert target[1].any()


def test_samples_do_not_mix():
    boxes = np.array([(0, 0, 20, 24), (64, 64, 94, 94), (10, 40, 70, 90)], np.float32)
    together = np.array(box_targets(boxes, ANCHORS, 96))
    assert together.shape == (3, 3, 3, 3, 5)
    alone = [np.array(box_targets(box[None], ANCHORS, 96))[0] for box in boxes]
    np.testing.assert_array_equal(together, alone)
