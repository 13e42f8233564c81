import re

import numpy as np
import pytest

from data.preparation.segmentation import SegmentationError, decode_segmentation

SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]  # columns 2–5, rows 1–3


def square_mask():
    mask = np.zeros((7, 9), np.uint8)
    mask[1:4, 2:6] = 1
    return mask


def test_polygons():
    mask = decode_segmentation([SQUARE], 9, 7)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, square_mask())


def test_overlapping_parts_are_united_and_not_added():
    mask = decode_segmentation([SQUARE, [4, 2, 8, 2, 8, 6, 4, 6]], 9, 7)
    assert mask.max() == 1
    assert mask.sum() == 12 + 16 - 4


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("form", [lambda c: c, lambda c: c.decode()])
def test_compressed_run_lengths(form, as_list):
    from pycocotools import mask as coco_mask

    counts = coco_mask.encode(np.asfortranarray(square_mask()))["counts"]
    part = {"size": [7, 9], "counts": form(counts)}
    mask = decode_segmentation([part] if as_list else part, 9, 7)
    np.testing.assert_array_equal(mask, square_mask())


def test_long_and_ragged_compressed_run_lengths():
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (50, 70), (300, 200)]:
        mask = (rng.random((height, width)) < 0.3).astype(np.uint8)
        mask[height // 3 : height // 2] = 0
        encoded = coco_mask.encode(np.asfortranarray(mask))
        part = {"size": [height, width], "counts": encoded["counts"].decode()}
        np.testing.assert_array_equal(decode_segmentation(part, width, height), mask)


def test_plain_run_lengths_go_down_the_columns():
    part = {"size": [7, 9], "counts": [15, 3, 4, 3, 4, 3, 4, 3, 24]}
    np.testing.assert_array_equal(decode_segmentation(part, 9, 7), square_mask())


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        (None, "neither a polygon nor run lengths"),
        ([5], "neither a polygon nor run lengths"),
        ([], "segmentation is empty"),
        ([[1, 2, 3, 4]], "three or more x, y pairs"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three or more x, y pairs"),
        ([[1, 2, 3, 4, 5, "6"]], 'coordinate "6"'),
        ([[1, 2, 3, 4, 5, True]], "coordinate true"),
        ([[1, 2, 3, 4, 5, float("nan")]], "the coordinate NaN"),
        ([[1, 2, 3, 4, 5, 1e12]], "not a number near the image of 9×7"),
        (
            {"size": [9, 7], "counts": [63]},
            "the size [9, 7] (height, width), but the",
        ),
        ({"size": [7, 9], "counts": [62]}, "do not add up to 7×9"),
        (
            {"size": [7, 9], "counts": [-1, 64]},
            "run lengths are [-1, 64], but must be text or a list",
        ),
        ({"size": [7, 9], "counts": [2**70]}, "whole numbers of pixels, at most 63"),
        ({"size": [7, 9], "counts": [True, 62]}, "the run lengths are [true, 62]"),
        ({"size": [7, 9], "counts": [1.0, 62]}, "the run lengths are [1.0, 62]"),
        ({"size": [7, 9], "counts": 63}, "the run lengths are 63, but"),
        ({"size": [7, 9], "counts": "0" * 129}, "the run lengths are too many for 63 pixels"),
        ({"size": [7, 9], "counts": "g03"}, "do not add up"),
        ({"size": [7, 9], "counts": "P"}, "end within a number"),
        ({"size": [7, 9], "counts": "\u20ac0z"}, "contain the character 'z'"),
    ],
)
def test_what_is_no_segmentation(segmentation, fault):
    with pytest.raises(SegmentationError, match=re.escape(fault)):
        decode_segmentation(segmentation, 9, 7)
