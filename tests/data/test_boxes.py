import numpy as np
import pytest

from data.boxes import box_iou, tight_box


def test_tight_box_ends_behind_the_last_pixel():
    mask = np.zeros((20, 30), np.uint8)
    mask[3, 5] = 1
    assert tight_box(mask) == (5, 3, 6, 4)
    mask[10:12, 7:29] = 255
    assert tight_box(mask) == (5, 3, 29, 12)


@pytest.mark.parametrize(
    ("box", "iou"),
    [((0, 0, 10, 10), 1), ((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0), ((20, 20, 30, 30), 0)],
)
def test_box_iou(box, iou):
    assert box_iou((0, 0, 10, 10), box) == pytest.approx(iou)
    assert box_iou(box, (0, 0, 10, 10)) == pytest.approx(iou)
