"""Prepared lines, letterboxed images, boxes, masks and tokens equal the published ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.loading.annotations import read_annotations
from data.loading.images import read_image
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image, letterbox_mask
from data.text.vectors import tokenize

GOLDEN = Path(__file__).parent / "golden"
FIXTURE = GOLDEN / "data_fixture"
INPUT_SIZE, STRIDE = 416, 8


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "golden_data.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def referents():
    return read_annotations(FIXTURE / "lines.txt")


@pytest.mark.parametrize("k", range(6))
def test_image_box_mask_and_tokens(golden, referents, k):
    referent = referents[k]
    image = read_image(FIXTURE / "images" / referent.image)
    geometry = Letterbox.fit(*image.size, INPUT_SIZE)

    np.testing.assert_array_equal(letterbox_image(image, INPUT_SIZE), golden[f"img_{k}"])
    np.testing.assert_array_equal(
        letterbox_box(referent.box_xyxy_px, geometry), golden[f"box_{k}"][0]
    )
    with np.load(FIXTURE / "masks.npz") as masks:
        mask = masks[f"m{referent.mask_id}"]
    # Where two polygons of an object overlap the published mask says 2; ours is 0 or 1.
    expected = np.minimum(golden[f"seg_{k}"], 1)
    np.testing.assert_array_equal(letterbox_mask(mask, geometry, STRIDE), expected)
    assert [tokenize(e) for e in referent.expressions] == [
        json.loads(tokens) for tokens in golden[f"sents_{k}"]
    ]
