import numpy as np
import pytest

from data.loading.boxes import box_iou, clip_box, has_area, tight_box


def test_tight_box_ends_behind_the_last_pixel():
    mask = np.zeros((20, 30), np.uint8)
    mask[3, 5] = 1
    assert tight_box(mask) == (5, 3, 6, 4)
    mask[10:12, 7:29] = 255
    assert tight_box(mask) == (5, 3, 29, 12)


@pytest.mark.parametrize(
    ("box", "clipped", "area"),
    [
        ((-3, 5, 70, 200), (0, 5, 60, 100), True),
        ((59, 0, 61, 1), (59, 0, 60, 1), True),
        ((60, 0, 70, 9), (60, 0, 60, 9), False),
        ((5, -9, 9, -1), (5, 0, 9, -1), False),
    ],
)
def test_a_box_is_cut_to_its_image(box, clipped, area):
    assert clip_box(box, 60, 100) == clipped
    assert has_area(clipped) == area


@pytest.mark.parametrize(
    ("box", "iou"),
    [((0, 0, 10, 10), 1), ((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0), ((20, 20, 30, 30), 0)],
)
def test_box_iou(box, iou):
    assert box_iou((0, 0, 10, 10), box) == pytest.approx(iou)
    assert box_iou(box, (0, 0, 10, 10)) == pytest.approx(iou)
