import numpy as np
import pytest
from PIL import Image

from data.loading.letterbox import (
    Letterbox,
    letterbox_box,
    letterbox_image,
    letterbox_mask,
    unletterbox_box,
    unletterbox_map,
)


@pytest.mark.parametrize(
    ("size", "new", "corner"),
    [
        ((640, 480), (416, 312), (0, 52)),
        ((480, 640), (312, 416), (52, 0)),
        ((500, 333), (416, 277), (0, 69)),
        ((416, 416), (416, 416), (0, 0)),
        ((10, 5), (416, 208), (0, 104)),
        ((1, 1000), (1, 416), (207, 0)),
    ],
)
def test_geometry(size, new, corner):
    geometry = Letterbox.fit(*size, 416)
    assert (geometry.new_width, geometry.new_height) == new
    assert (geometry.left, geometry.top) == corner


def test_sizes_that_make_no_sense():
    with pytest.raises(ValueError, match="no image of 0×5"):
        Letterbox.fit(0, 5, 416)


def test_the_border_is_gray_and_the_image_is_inside():
    square = letterbox_image(Image.new("RGB", (40, 20), (255, 0, 7)), 64)
    assert square.shape == (64, 64, 3)
    assert square.dtype == np.uint8
    assert (square[:16] == 128).all()
    assert (square[48:] == 128).all()
    assert (square[16:48] == (255, 0, 7)).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_only_rgb_images_are_scaled(mode):
    with pytest.raises(ValueError, match=f"an image in {mode} instead of RGB"):
        letterbox_image(Image.new(mode, (30, 20)), 32)


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (97, 13)])
def test_boxes_come_back(size):
    geometry = Letterbox.fit(*size, 416)
    boxes = np.random.default_rng(0).uniform(0, min(size), (3, 5, 4))
    there = letterbox_box(boxes, geometry)
    assert there.shape == (3, 5, 4)
    np.testing.assert_allclose(unletterbox_box(there, geometry), boxes, atol=1e-9)


def test_the_whole_image_fills_its_window():
    geometry = Letterbox.fit(640, 480, 416)
    np.testing.assert_allclose(letterbox_box((0, 0, 640, 480), geometry), (0, 52, 416, 364))


def test_a_mask_lies_where_its_box_lies():
    mask = np.zeros((480, 640), np.uint8)
    mask[120:360, 160:480] = 1
    small = letterbox_mask(mask, Letterbox.fit(640, 480, 416), 8)
    rows, columns = np.nonzero(small[:, :, 0])
    x1, y1, x2, y2 = letterbox_box((160, 120, 480, 360), Letterbox.fit(640, 480, 416)) / 8
    assert abs(columns.min() - x1) <= 1
    assert abs(columns.max() + 1 - x2) <= 1
    assert abs(rows.min() - y1) <= 1
    assert abs(rows.max() + 1 - y2) <= 1


def test_masks_are_zero_or_one():
    mask = np.full((20, 30, 1), 2, np.uint8)
    small = letterbox_mask(mask, Letterbox.fit(30, 20, 32), 8)
    assert small.dtype == np.float32
    assert small.shape == (4, 4, 1)
    assert set(np.unique(small)) == {0, 1}


def test_area_targets_are_the_share_covered():
    mask = np.zeros((32, 32), np.uint8)
    mask[3:9, 4:16] = 1
    geometry = Letterbox.fit(32, 32, 32)
    area = letterbox_mask(mask, geometry, 8, "area")[..., 0]
    expected = np.zeros((4, 4))
    expected[0, :2] = [5 * 4 / 64, 5 * 8 / 64]
    expected[1, :2] = [1 * 4 / 64, 1 * 8 / 64]
    np.testing.assert_allclose(area, expected)
    corner = letterbox_mask(mask, geometry, 8)[..., 0]
    assert corner.sum() == corner[1, 1] == 1


def test_masks_that_do_not_fit():
    geometry = Letterbox.fit(30, 20, 32)
    with pytest.raises(ValueError, match=r"shape \(30, 20\) does not fit an image of \(20, 30\)"):
        letterbox_mask(np.zeros((30, 20), np.uint8), geometry, 8)
    with pytest.raises(ValueError, match="stride 7 does not divide"):
        letterbox_mask(np.zeros((20, 30), np.uint8), geometry, 7)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (7,)])
def test_maps_come_back_to_the_image(channels):
    geometry = Letterbox.fit(300, 200, 96)
    square = np.full((96, 96, *channels), -5, np.float32)
    rows = slice(geometry.top, geometry.top + geometry.new_height)
    ramp = np.linspace(0, 1, 96, dtype=np.float32).reshape(1, 96, *[1] * len(channels))
    square[rows] = ramp
    full = unletterbox_map(square, geometry)
    assert full.shape == (200, 300, *channels)
    assert full.dtype == np.float32
    assert full.min() >= 0  # nothing of the border
    assert abs(full[100, 150].mean() - 0.5) < 0.01


def test_maps_that_do_not_fit():
    with pytest.raises(ValueError, match="does not fit an input of 96"):
        unletterbox_map(np.zeros((95, 96), np.float32), Letterbox.fit(300, 200, 96))


def test_tall_images_are_scaled_in_width_first():
    # Pillow's own choice of order differs between versions for images far taller than wide.
    pixels = np.random.default_rng(0).integers(0, 256, (400, 90, 3), np.uint8)
    image = Image.fromarray(pixels)
    geometry = Letterbox.fit(90, 400, 128)
    narrow = image.resize((geometry.new_width, 400), Image.Resampling.BICUBIC)
    expected = narrow.resize((geometry.new_width, geometry.new_height), Image.Resampling.BICUBIC)
    ours = letterbox_image(image, 128)
    left, top = geometry.left, geometry.top
    inner = ours[top : top + geometry.new_height, left : left + geometry.new_width]
    np.testing.assert_array_equal(inner, np.asarray(expected))
    other = image.resize(expected.size, Image.Resampling.BICUBIC)
    if np.array_equal(np.asarray(other), np.asarray(expected)):
        pytest.skip("this Pillow scales the width first by itself")
