"""Comparison with the truth where a mask is empty or an object has several expressions."""

import weakref

import numpy as np
import pytest
from PIL import Image

from data.loading.annotations import Referent
from data.loading.masks import Masks
from utils.evaluation.scoring.rows import Row
from utils.evaluation.scoring.scorer import Scorer

MASK = {"size": [30, 40], "counts": [0, 30, 1170]}  # The first column.


class CountedMasks(Masks):
    """Masks of ids 1, empty, and 2, the first two columns; counts how often each is read.

    `most` is how many there were at once.
    """

    def __init__(self):
        self.read_ids, self.masks, self.most = [], [], 0

    def read(self, referent, width, height):
        self.read_ids.append(referent.mask_id)
        mask = np.zeros((height, width), np.uint8)
        mask[:, :2] = referent.mask_id == 2
        self.masks = [*(one for one in self.masks if one() is not None), weakref.ref(mask)]
        self.most = max(self.most, len(self.masks))
        return mask


@pytest.fixture
def score(tmp_path):
    """Measures rows for four expressions, three of a referent with an empty mask."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    referents = [
        Referent("a.png", (0, 0, 9, 9), 0, 1, ("one", "two", "three")),
        Referent("a.png", (0, 0, 9, 9), 0, 2, ("four",)),
    ]

    def measure(*rows):
        masks = CountedMasks()
        scorer = Scorer(referents, rows, ("RES",), tmp_path, masks, 416)
        measured = scorer.measure(1)
        assert sorted(masks.read_ids) == [1, 2]  # Once per referent.
        return measured

    return measure


def test_nothing_predicted_is_wrong_and_an_empty_mask_agrees_with_an_empty_one(score):
    empty = Row("f:2", mask_key="mask", mask=[])
    no_mask = Row("f:3", box_xyxy_px=(0, 0, 9, 9))
    measured = score(None, empty, no_mask, None)
    assert [case.seg_iou for case in measured[:3]] == [0, 1, 0]
    assert measured[3].seg_iou < 1e-9
    assert [(case.intersection, case.union) for case in measured] == [(0, 0)] * 3 + [(0, 60)]
    assert [case.true_px for case in measured] == [0, 0, 0, 60]


def test_a_mask_on_an_empty_one_is_wrong(score):
    column = Row("f:1", mask_key="mask", mask=MASK)
    measured = score(column, column, None, column)
    assert [case.seg_iou for case in measured] == pytest.approx([0, 0, 0, 0.5], abs=1e-9)


def test_the_true_masks_of_an_image_are_not_held_together(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    referents = [Referent("a.png", (0, 0, 9, 9), 0, i, ("one", "two")) for i in range(20)]
    masks = CountedMasks()
    scorer = Scorer(referents, [None] * 40, ("RES",), tmp_path, masks, 416)
    assert [case.index for case in scorer.measure(1)] == list(range(40))
    assert len(masks.read_ids) == 20
    assert masks.most <= 2  # That of the former referent goes when the next one is there.
