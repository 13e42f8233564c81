"""Composition and drawing of the demo scenes."""

import cv2
import numpy as np
import pytest

from data.synthetic.scene import (
    COLOUR_JITTER,
    COLOURS_RGB,
    KINDS,
    MIN_VISIBLE,
    RADIUS_RANGES_PX,
    Shape,
    compose,
    mask_box_xywh_px,
    render,
    shape_contours_px,
    unit_outline,
    unit_reach,
    visible_objects,
)

SIDE = 128


def shape(kind="circle", radius=20.0, x=64.0, y=60.0, rotation=0.0, rgb=(200.0, 30.0, 30.0)):
    return Shape(kind, "red", "large", radius, x, y, rotation, rgb)


def inside(contours, x, y):
    """Even-odd rule at one point, by ray casting."""
    odd = False
    for points in contours:
        for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                odd = not odd
    return odd


@pytest.mark.parametrize("kind", KINDS)
def test_mask_is_the_outline(kind):
    drawn = shape(kind, radius=14.0, x=64.3, y=60.7, rotation=7.0)
    mask = render(np.random.default_rng(0), [drawn], SIDE).masks[0]
    contours = shape_contours_px(drawn)
    # Pixel centers are inside where the mask is set, but for pixels the outline runs through.
    rows, columns = np.mgrid[44:78, 46:84]
    truth = [
        inside(contours, x + 0.5, y + 0.5)
        for y, x in zip(rows.ravel(), columns.ravel(), strict=True)
    ]
    seen = mask[44:78, 46:84].ravel().astype(bool)
    assert (truth & ~seen).sum() <= 0.01 * sum(truth)
    assert (seen & ~np.array(truth)).sum() <= 0.07 * sum(truth)  # OpenCV fills the border too
    assert mask.sum() == seen.sum()


def test_mask_of_a_circle_has_its_area_and_box():
    mask = render(np.random.default_rng(0), [shape(radius=20.0)], SIDE).masks[0]
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.02)
    assert mask_box_xywh_px(mask) == (44, 40, 40, 40)


def test_upper_shape_hides_the_lower_one():
    lower, upper = shape(x=50.0), shape("square", x=75.0, rgb=(20.0, 40.0, 220.0))
    rendering = render(np.random.default_rng(0), [lower, upper], SIDE)
    # Both are seen only on pixels that they share half and half.
    assert (rendering.masks.sum(axis=0) == 2).sum() <= 5
    assert rendering.visible_share[1] == 1
    assert 0.5 < rendering.visible_share[0] < MIN_VISIBLE
    assert visible_objects([lower, upper], rendering) is None
    for mask, drawn in zip(rendering.masks, (lower, upper), strict=True):
        core = cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)
        np.testing.assert_allclose(rendering.image_rgb[core].mean(axis=0), drawn.rgb, atol=1)


def test_edges_are_antialiased_and_the_mask_is_where_half_is_covered():
    plain = render(np.random.default_rng(0), [], SIDE).image_rgb.astype(float)
    drawn = render(np.random.default_rng(0), [shape(rgb=(255.0, 10.0, 10.0))], SIDE)
    # The same seed gives the same background and grain, so the change tells the coverage.
    coverage = ((drawn.image_rgb - plain) / (np.array([255, 10, 10]) - plain))[..., 1]
    sure = np.abs(coverage - 0.5) > 0.1
    np.testing.assert_array_equal((coverage > 0.5)[sure], drawn.masks[0][sure].astype(bool))
    partly = (coverage > 0.1) & (coverage < 0.9)
    assert 60 < partly.sum() < 200


@pytest.mark.parametrize("kind", KINDS)
def test_outlines_are_centred_shared_and_of_like_size(kind):
    contours = unit_outline(kind)
    low, high = contours[0].min(axis=0), contours[0].max(axis=0)
    np.testing.assert_allclose(low + high, 0, atol=1e-9)
    hull = cv2.contourArea(cv2.convexHull(contours[0].astype(np.float32)))
    assert 0.8 * np.pi**0.5 < hull**0.5 < 1.15 * np.pi**0.5
    assert 0.99 < unit_reach(kind) < 1.6
    with pytest.raises(ValueError, match="read-only"):
        contours[0][0] = 0


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'blob'.*circle"):
        unit_outline("blob")


def test_composed_scenes_keep_to_the_rules():
    rng = np.random.default_rng(0)
    composed = [shapes for shapes in (compose(rng, 5, SIDE) for _ in range(40)) if shapes]
    assert len(composed) > 20
    n_seen = 0
    for shapes in composed:
        assert len(shapes) == 5
        for drawn in shapes:
            low, high = RADIUS_RANGES_PX[drawn.size]
            assert low <= drawn.radius_px <= high
            points = np.concatenate(shape_contours_px(drawn))
            assert (points > 0).all()
            assert (points < SIDE).all()
            distance = np.subtract(drawn.rgb, COLOURS_RGB[drawn.colour])
            assert np.abs(distance).max() <= COLOUR_JITTER
        rendering = render(rng, shapes, SIDE)
        objects = visible_objects(shapes, rendering)
        if objects is None:
            assert rendering.visible_share.min() < MIN_VISIBLE
            continue
        n_seen += 1
        for seen, mask in zip(objects, rendering.masks, strict=True):
            x, y, width, height = mask_box_xywh_px(mask)
            assert (seen.left_px, seen.right_px) == (x, x + width)
            assert (seen.top_px, seen.bottom_px) == (y, y + height)
            assert seen.long_side_px == max(width, height)
    assert n_seen > 20


def test_too_many_shapes_find_no_room():
    assert compose(np.random.default_rng(0), 60, SIDE) is None


def test_colours_stay_apart():
    colours = np.array(list(COLOURS_RGB.values()), float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    apart = distance[~np.eye(len(colours), dtype=bool)].min()
    assert apart > 4 * COLOUR_JITTER * np.sqrt(3)


def test_larger_scenes_scale():
    shapes = compose(np.random.default_rng(0), 3, 256)
    for drawn in shapes:
        low, high = RADIUS_RANGES_PX[drawn.size]
        assert 2 * low <= drawn.radius_px <= 2 * high
    assert render(np.random.default_rng(2), shapes, 256).image_rgb.shape == (256, 256, 3)
