"""Outlines that are visible on any photograph and lie outside of what they surround.

Each line has a core in the color of its meaning, a white casing and, around it, a black one. Of
black and white, at least one contrasts with any color by the factor √21 ≈ 4.6 (WCAG asks for 3), so
a line neither vanishes on an object of its own color nor needs a strong fill.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.visualization.palette import INNER_CASING, OUTER_CASING, Color

DASH_LENGTH, DASH_PERIOD = 2.8, 2.2  # in widths of the line, and in lengths of a dash
WIDTHS_PER_PICTURE = 260  # The core of a line has about 1/260 of the size of the picture.


@dataclass(frozen=True)
class Pen:
    """The widths of a line, in pixels.

    Attributes:
        core: radius of the colored core, which is 2 · core + 1 wide.
        casing: width of each of the two casings, on each side of the core.
    """

    core: int
    casing: int

    @property
    def radius(self) -> int:
        """Radius of the whole line, which is 2 · radius + 1 wide."""
        return self.core + 2 * self.casing


def pen_of(size: int, thin: bool = False) -> Pen:
    """The pen for a picture whose longer side has `size` pixels; thin for the outlines of masks."""
    core = (0.7 if thin else 1.0) * size / WIDTHS_PER_PICTURE
    return Pen(max(round((core - 1) / 2), 1), max(round(0.35 * core), 1))


def draw_box(
    canvas: np.ndarray,
    box_xyxy_px: Sequence[float] | np.ndarray,
    color: Color,
    pen: Pen,
    dashed: bool = False,
) -> None:
    """Draws a box, in place: the inner edge of its line is the border of the box.

    Args:
        canvas: (h, w, 3) uint8, RGB.
        box_xyxy_px: (4,) left, top, right, bottom in pixels of the canvas. What lies beyond the
            canvas is drawn along its border.
        color: of the core.
        pen: widths of the line.
        dashed: whether the line is dashed.
    """
    x1, y1, x2, y2 = np.rint(np.asarray(box_xyxy_px, np.float64))
    # The innermost pixels of the line are x1 - 1, y1 - 1, x2 and y2.
    left, top = x1 - 1 - pen.radius, y1 - 1 - pen.radius
    right, bottom = x2 + pen.radius, y2 + pen.radius
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    _draw(canvas, [_closed(_inside(corners, canvas, pen))], color, pen, dashed)


def draw_mask_outline(
    canvas: np.ndarray, mask: np.ndarray, color: Color, pen: Pen, dashed: bool = False
) -> None:
    """Draws the outlines of a mask and of its holes, in place, around the pixels of the mask.

    Args:
        canvas: (h, w, 3) uint8, RGB.
        mask: (h, w) bool.
        color, pen, dashed: as those of `draw_box`.
    """
    if not mask.any():
        return
    distance = _distance(~mask)
    # The border of what is grown so far is farther than radius + 1 from the mask, or as far.
    grown = (distance < pen.radius + 2).astype(np.uint8)
    found, _ = cv2.findContours(grown, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    paths = [_inside(points[:, 0, :].astype(np.float64), canvas, pen) for points in found]
    _draw(canvas, [_closed(path) for path in paths], color, pen, dashed)


def _inside(points: np.ndarray, canvas: np.ndarray, pen: Pen) -> np.ndarray:
    """Moves points to where the whole width of the line is on the canvas."""
    last = np.array(canvas.shape[1::-1]) - 1
    margin = np.minimum(pen.radius, last // 2)
    return np.clip(points, margin, last - margin)


def _closed(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, points[:1]])


def _distance(outside: np.ndarray) -> np.ndarray:
    """Distance of each pixel from the nearest one that is not `outside`: float32."""
    return cv2.distanceTransform(outside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _draw(
    canvas: np.ndarray, paths: Sequence[np.ndarray], color: Color, pen: Pen, dashed: bool
) -> None:
    dash = DASH_LENGTH * (2 * pen.radius + 1)
    pieces = [piece for path in paths for piece in _dashes(path, dash)] if dashed else paths
    points = [np.rint(piece).astype(np.int32) for piece in pieces]
    if not points:
        return
    away = np.ones(canvas.shape[:2], np.uint8)
    cv2.polylines(away, points, False, 0)
    distance = _distance(away)
    touched = distance < pen.radius + 1
    colors, distance = canvas[touched].astype(np.float32), distance[touched][:, None]
    radii = (pen.radius, pen.core + pen.casing, pen.core)
    for radius, paint in zip(radii, (OUTER_CASING, INNER_CASING, color), strict=True):
        alpha = np.clip(radius + 1 - distance, 0, 1)
        colors += alpha * (np.asarray(paint, np.float32) - colors)
    canvas[touched] = np.rint(colors)


def _dashes(path: np.ndarray, dash: float) -> list[np.ndarray]:
    """Cuts a closed path into dashes with wide gaps, part of which their round ends fill."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    length = along[-1]
    if length <= 0:
        return [path]
    count = max(round(length / (DASH_PERIOD * dash)), 2)
    period = length / count
    pieces = []
    for start in np.arange(count) * period:
        end = start + period / DASH_PERIOD
        inside = along[(along > start) & (along < end)]
        places = np.concatenate([[start], inside, [end]])
        pieces.append(np.stack([np.interp(places, along, path[:, k]) for k in (0, 1)], axis=1))
    return pieces
