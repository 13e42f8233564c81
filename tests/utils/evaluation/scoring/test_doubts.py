"""Warnings about boxes in another format or at another scale."""

import pytest

from data.loading.annotations import Referent
from data.loading.errors import DataError
from utils.evaluation.scoring.doubts import box_doubts
from utils.evaluation.scoring.rows import Row

SIZE = (400, 250)
TRUE = [(100, 50, 180, 150), (200, 40, 300, 90), (20, 100, 80, 240), (150, 10, 390, 200),
        (60, 60, 120, 100), (300, 150, 360, 240)]  # fmt: skip
REFERENTS = [Referent(f"{i // 2}.png", box, 0, i, ("dog",)) for i, box in enumerate(TRUE)]


def doubts(boxes, form="xyxy", size_of=lambda image: SIZE, **more):
    rows = [
        None if box is None else Row(f"f:{i}", box_xyxy_px=tuple(box), box_format=form, **more)
        for i, box in enumerate(boxes)
    ]
    return box_doubts(rows, REFERENTS, size_of)


def no_image(image):
    raise DataError("no such image")


def scaled(factor):
    width, height = SIZE
    return [
        (factor * a / width, factor * b / height, factor * c / width, factor * d / height)
        for a, b, c, d in TRUE
    ]


def test_corners_read_as_sizes():
    as_sizes = [(a, b, a + c, b + d) for a, b, c, d in TRUE]
    (found,) = doubts(as_sizes, "xywh")
    assert found.startswith("boxes are read as left, top, width, height (mean IoU 0.")
    assert "left, top, right, bottom (1.00)" in found
    assert found.endswith('"format": "xyxy"')


def test_sizes_read_as_corners():
    near = [(10 * i, 8 * i, 10 * i + 100, 8 * i + 90) for i in range(6)]
    referents = [Referent(f"{i}.png", box, 0, i, ("dog",)) for i, box in enumerate(near)]
    rows = [Row(f"f:{i}", box_xyxy_px=(a, b, 100, 90)) for i, (a, b, *_) in enumerate(near)]
    (found,) = box_doubts(rows, referents, no_image)
    assert found.startswith("boxes are read as left, top, right, bottom (mean IoU 0.")
    assert found.endswith('write them as \'bbox\' with "format": "xywh"')


def test_fractions_of_the_image():
    (found,) = doubts([*scaled(1)[:5], (0, 0, 0, 0)], size_of=no_image)
    assert found.startswith("5 of 5 boxes are within 0..1, but boxes are read in pixels of the ima")


def test_thousandths_of_the_image():
    (found,) = doubts(scaled(1000))
    assert "fit far better in thousandths of its width and height (1.00)" in found
    assert doubts(scaled(1000), size_of=no_image) == []  # Boxes are compared without images.


@pytest.mark.parametrize("shift", [0, 10, 60, 500])
@pytest.mark.parametrize("form", ["xyxy", "xywh"])
def test_boxes_as_they_should_be_are_not_doubted_however_wrong(shift, form):
    boxes = [(a + shift, b, c + shift, d) for a, b, c, d in TRUE]
    assert doubts(boxes, form) == []


def test_few_boxes_and_those_of_dumps_are_not_doubted():
    assert doubts([*scaled(1000)[:4], None, None]) == []
    assert doubts([None] * 6) == []
    assert doubts(scaled(1), box_xyxy_input=(0, 0, 1, 1)) == []
