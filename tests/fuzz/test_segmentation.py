"""COCO segmentations from strangers: polygons, and run lengths, compressed or not."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from data.preparation.segmentation import (
    SegmentationError,
    decode_segmentation,
    estimated_bytes,
)
from tests.fuzz.mutation import VALUES, damaged_bytes, damaged_value
from tests.limits import memory_within

WIDTH, HEIGHT = 40, 30
MASK = (np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.3).astype(np.uint8)
COMPRESSED = coco_mask.encode(np.asfortranarray(MASK))["counts"]
LENGTHS = np.diff([0, *np.flatnonzero(np.diff(MASK.T.ravel(), prepend=0)), MASK.size]).tolist()
SIZE = [HEIGHT, WIDTH]
POLYGON = [3, 4, 20.5, 4, 20, 18, 9, 25.25]
SEGMENTATIONS = [
    {"size": SIZE, "counts": COMPRESSED.decode()},
    {"size": SIZE, "counts": LENGTHS},
    [POLYGON, [25, 1, 39, 1, 39, 29]],
    [{"size": SIZE, "counts": LENGTHS}, POLYGON],
]
NEAR = st.integers(-WIDTH, 2 * WIDTH) | st.floats(-WIDTH, 2 * WIDTH)


@pytest.fixture(autouse=True)
def bounded_memory():
    with memory_within(200_000_000):
        yield


def decode(segmentation, width=WIDTH, height=HEIGHT):
    """Decodes a segmentation, or refuses it; a mask has the pixels of the image."""
    assert estimated_bytes(segmentation, width) > 0
    with contextlib.suppress(SegmentationError):
        mask = decode_segmentation(segmentation, width, height)
        assert mask.shape == (height, width)
        assert mask.dtype == np.uint8
        assert mask.max() <= 1
        return mask
    return None


def test_the_undamaged_segmentations_are_decoded():
    for segmentation in SEGMENTATIONS[:2]:
        np.testing.assert_array_equal(decode(segmentation), MASK)
    assert decode(SEGMENTATIONS[2]).any()
    np.testing.assert_array_equal(decode(SEGMENTATIONS[3]), MASK | decode([POLYGON]))


@given(st.sampled_from(SEGMENTATIONS).flatmap(damaged_value) | VALUES)
def test_damaged_fields(segmentation):
    decode(segmentation)


@given(damaged_bytes(COMPRESSED) | st.binary(max_size=20), st.booleans())
def test_damaged_counts(counts, as_text):
    decode({"size": SIZE, "counts": counts.decode("latin-1") if as_text else counts})


@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40))
def test_random_counts_of_valid_characters(counts):
    decode({"size": SIZE, "counts": counts})


@given(st.lists(st.integers(-2, WIDTH * HEIGHT), max_size=9))
def test_random_run_lengths(lengths):
    rest = WIDTH * HEIGHT - sum(lengths)
    mask = decode({"size": SIZE, "counts": [*lengths, rest]})
    if mask is not None:
        assert mask.sum() == sum([*lengths, rest][1::2])


@given(st.lists(st.lists(NEAR, min_size=5, max_size=24), min_size=1, max_size=4))
def test_random_polygons(polygons):
    mask = decode(polygons)
    if mask is not None:
        parts = [decode([polygon]) for polygon in polygons]
        np.testing.assert_array_equal(mask, np.maximum.reduce(parts))


@given(st.binary(max_size=60))
def test_random_json(content):
    with contextlib.suppress(ValueError):
        decode(json.loads(content))


def test_outlines_that_take_gigabytes_are_refused():
    zigzag = [value for k in range(40_000) for value in (1280 if k % 2 else -640, k % 480)]
    with memory_within(100_000_000):
        with pytest.raises(SegmentationError, match=r"has an outline of 76,8.* pixels, more"):
            decode_segmentation([zigzag], 640, 480)
        # The longest that is taken.
        assert decode_segmentation([zigzag[:1000]], 640, 480).any()


def test_many_parts_take_little_memory():
    with memory_within(50_000_000):
        mask = decode_segmentation([[0, 0, 6000, 0, 6000, 9]] * 3_000, 6_000, 10)
    np.testing.assert_array_equal(mask, decode_segmentation([[0, 0, 6000, 0, 6000, 9]], 6_000, 10))
