"""Attention maps are aligned with the photograph."""

import numpy as np
import pytest

from data.loading.letterbox import Letterbox
from utils.prediction.attention import Attention, draw_attention


def attention_at(row, column, geometry):
    """Attention concentrated in one cell of each grid, in both groups."""
    mask, box = np.zeros((12, 12, 2), np.float32), np.zeros((3, 3, 2), np.float32)
    mask[row, column] = box[row // 4, column // 4] = 1
    return Attention(mask, box, geometry)


@pytest.mark.parametrize("branch", ["mask", "box"])
def test_the_letterbox_border_is_cropped(branch):
    # 192×96 in a square of 96: rows 24 to 71 hold the photograph, at half its size.
    geometry = Letterbox.fit(192, 96, 96)
    heat = attention_at(5, 9, geometry).over_photograph(branch)
    assert heat.shape == (96, 192)
    assert heat.dtype == np.float32
    assert heat.max() == 1
    assert heat.min() >= 0
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    size = 8 if branch == "mask" else 32
    center = np.array([(5 * 8 // size + 0.5) * size - 24, (9 * 8 // size + 0.5) * size]) * 2
    assert np.abs([row - center[0], column - center[1]]).max() <= size


def test_the_size_can_be_chosen():
    geometry = Letterbox.fit(192, 96, 96)
    heat = attention_at(5, 9, geometry).over_photograph("mask", width=96, height=48)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert heat.shape == (48, 96)
    assert np.abs([row - 20, column - 76]).max() <= 4


def test_attention_in_the_border_alone_is_dark():
    heat = attention_at(0, 0, Letterbox.fit(192, 96, 96)).over_photograph("mask")
    assert heat.max() == 0


def test_strong_attention_is_drawn_bright():
    image = np.full((20, 30, 3), (200, 60, 60), np.uint8)
    heat = np.zeros((20, 30), np.float32)
    heat[5, 7] = 1
    drawn = draw_attention(image, heat)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert np.ptp(drawn[0, 0].astype(int)) == 0
    assert drawn[5, 7].astype(int).sum() > 2 * drawn[0, 0].astype(int).sum()
