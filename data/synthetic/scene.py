"""Images of the demo set: colored shapes on textured backgrounds, with exact masks.

`compose` arranges shapes and `render` draws them on a label map of `OVERSAMPLING` times the
resolution. The share of a pixel that carries the label of a shape is the shape's visible coverage
of that pixel, which determines both the anti-aliased image and the mask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from config.errors import UserError
from data.loading.boxes import tight_box
from data.synthetic.semantics import SceneObject

CURVED_KINDS = ("circle", "ring", "heart", "moon")
STRAIGHT_KINDS = ("square", "triangle", "star", "cross")
KINDS = CURVED_KINDS + STRAIGHT_KINDS
COLOURS_RGB = {
    "red": (214, 34, 34),
    "orange": (244, 122, 14),
    "yellow": (244, 234, 52),
    "green": (38, 158, 60),
    "blue": (36, 78, 216),
    "purple": (124, 40, 168),
    "pink": (250, 142, 192),
    "white": (244, 244, 244),
}
# Radii in pixels for a side of REFERENCE_SIDE_PX. The gap makes small and large easy to tell apart.
REFERENCE_SIDE_PX = 128
RADIUS_RANGES_PX = {"small": (10.0, 14.0), "large": (19.0, 27.0)}
OBJECTS_PER_SCENE = (3, 7)

OVERSAMPLING = 4
_FRACTION_BITS = 4  # Contours are passed to OpenCV in sixteenths of a sub-pixel.
# Probabilities that a shape is large and that it repeats a kind or colour of the scene.
LARGE_SHARE = 0.45
REPEAT_KIND, REPEAT_COLOUR = 0.45, 0.25
COLOUR_JITTER = 10
MAX_ROTATION_DEG = 12.0
MIN_VISIBLE = 0.85  # least visible share of each shape's area
# Shapes may overlap in this share of placements, by this fraction of the smaller radius.
OVERLAP_SHARE, MAX_OVERLAP = 0.3, 0.35
PLACEMENT_TRIES = 60


class SceneError(UserError):
    """No scene could be composed; the message says what to try."""


@dataclass(frozen=True)
class Shape:
    """A shape to draw.

    Attributes:
        kind, colour, size: what the shape is, such as "ring", "red", "small".
        radius_px: scale of the unit outline, in image pixels.
        center_x_px, center_y_px: center of the unrotated outline's box, in image pixels.
        rotation_deg: rotation about the center in degrees.
        rgb: colour, 0..255.
    """

    kind: str
    colour: str
    size: str
    radius_px: float
    center_x_px: float
    center_y_px: float
    rotation_deg: float
    rgb: tuple[float, float, float]


@dataclass(frozen=True)
class Rendering:
    """A drawn scene of S×S pixels with n shapes.

    Attributes:
        image_rgb: (S, S, 3) uint8.
        masks: (n, S, S) uint8, 1 where a shape visibly covers at least half of the pixel.
        visible_share: (n,) float64, share of each shape's area that no other shape covers.
    """

    image_rgb: np.ndarray
    masks: np.ndarray
    visible_share: np.ndarray


@cache
def unit_outline(kind: str) -> tuple[np.ndarray, ...]:
    """Contours of a shape of radius 1.

    Shapes of the same radius are scaled to look equally large, which "largest" and "small" rely on.

    Returns:
        Read-only float64 arrays (k, 2) of x, y with y pointing down, centred on the shape's box.
        Several contours are filled by the even-odd rule.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "circle":
        contours = [_arc(1.0)]
    elif kind == "ring":
        contours = [_arc(1.05), _arc(0.58)]
    elif kind == "heart":
        t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        contours = [np.stack([16 * np.sin(t) ** 3, -y], axis=1) / 14.5]
    elif kind == "moon":
        # The outer arc and, in reverse, the arc of a shifted circle between their intersections.
        outer = _arc(1.2, np.radians(52), np.radians(308))
        tip_x, tip_y = outer[0]
        inner_x = 0.56
        inner_angle = np.arctan2(tip_y, tip_x - inner_x)
        inner = _arc(np.hypot(tip_x - inner_x, tip_y), 2 * np.pi - inner_angle, inner_angle)
        contours = [np.concatenate([outer, inner + np.array([inner_x, 0.0])])]
    elif kind == "square":
        contours = [1.22 * _arc(1.0, np.pi / 4, 9 * np.pi / 4, 4, closed=False)]
    elif kind == "triangle":
        contours = [1.36 * _arc(1.0, -np.pi / 2, 3 * np.pi / 2, 3, closed=False)]
    elif kind == "star":
        points = _arc(1.0, -np.pi / 2, 3 * np.pi / 2, 10, closed=False)
        points[1::2] *= 0.44
        contours = [1.25 * points]
    elif kind == "cross":
        a, b = 1.08, 0.38
        contours = [
            np.array(
                [
                    *[(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b)],
                    *[(b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)],
                ]
            )
        ]
    else:
        raise ValueError(f"unknown shape {kind!r}; expected one of {', '.join(KINDS)}")
    center = (contours[0].min(axis=0) + contours[0].max(axis=0)) / 2
    centered = tuple(contour - center for contour in contours)
    for contour in centered:
        contour.setflags(write=False)  # The cached arrays are shared by all callers.
    return centered


@cache
def unit_reach(kind: str) -> float:
    """Radius of the smallest circle around the box's center that contains a shape of radius 1."""
    return max(float(np.hypot(*contour.T).max()) for contour in unit_outline(kind))


def _arc(
    radius: float, start: float = 0.0, end: float = 2 * np.pi, n: int = 64, closed: bool = True
) -> np.ndarray:
    angle = np.linspace(start, end, n, endpoint=closed)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def shape_contours_px(shape: Shape) -> list[np.ndarray]:
    """Contours of a shape in image pixels, float64 arrays (k, 2) of x, y."""
    angle = np.radians(shape.rotation_deg)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    center = np.array([shape.center_x_px, shape.center_y_px])
    return [shape.radius_px * contour @ rotation + center for contour in unit_outline(shape.kind)]


def compose(rng: np.random.Generator, n_objects: int, side_px: int) -> list[Shape] | None:
    """Arranges shapes in a scene.

    Kinds and colours repeat within a scene on purpose, so that referring to an object often takes
    its location, size or neighbours and not just its name.

    Args:
        rng: source of randomness.
        n_objects: number of shapes.
        side_px: side of the scene in pixels.

    Returns:
        The shapes from bottom to top; None if there was no room for all of them.
    """
    scale = side_px / REFERENCE_SIDE_PX
    plans: list[tuple[str, str, str, float]] = []  # kind, colour, size, radius
    for _ in range(n_objects):
        kind = _new_or_repeated(rng, KINDS, [plan[0] for plan in plans], REPEAT_KIND)
        colours = tuple(COLOURS_RGB)
        colour = _new_or_repeated(rng, colours, [plan[1] for plan in plans], REPEAT_COLOUR)
        size = "large" if rng.random() < LARGE_SHARE else "small"
        plans.append((kind, colour, size, float(scale * rng.uniform(*RADIUS_RANGES_PX[size]))))
    # The largest first, as they are the hardest to place.
    plans.sort(key=lambda plan: -plan[3])
    circles: list[tuple[float, float, float]] = []  # x, y, radius of the circumscribed circles
    shapes: list[Shape] = []
    for kind, colour, size, radius in plans:
        reach = radius * unit_reach(kind)
        place = _free_place(rng, circles, reach, side_px)
        if place is None:
            return None
        circles.append((*place, reach))
        jittered = np.array(COLOURS_RGB[colour]) + rng.uniform(-COLOUR_JITTER, COLOUR_JITTER, 3)
        red, green, blue = (float(value) for value in np.clip(jittered, 0, 255))
        rotation = float(rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG))
        shapes.append(Shape(kind, colour, size, radius, *place, rotation, (red, green, blue)))
    return [shapes[i] for i in rng.permutation(n_objects)]


def _new_or_repeated(
    rng: np.random.Generator, choices: Sequence[str], used: Sequence[str], repeat: float
) -> str:
    """One of the choices, or with probability `repeat` one of those already used."""
    if used and rng.random() < repeat:
        return used[int(rng.integers(len(used)))]
    return choices[int(rng.integers(len(choices)))]


def _free_place(
    rng: np.random.Generator,
    circles: Sequence[tuple[float, float, float]],
    reach: float,
    side_px: int,
) -> tuple[float, float] | None:
    """Finds a center x, y for a circle of radius `reach` inside the scene and outside all others.

    Occasionally, circles may overlap slightly, so that some shapes partly occlude others.
    """
    allowed = MAX_OVERLAP if rng.random() < OVERLAP_SHARE else 0.0
    low, high = reach + 1, side_px - reach - 1
    for x, y in rng.uniform(low, high, (PLACEMENT_TRIES, 2)).tolist():
        if all(
            math.hypot(x - cx, y - cy) >= reach + other - allowed * min(reach, other)
            for cx, cy, other in circles
        ):
            return x, y
    return None


def render(rng: np.random.Generator, shapes: Sequence[Shape], side_px: int) -> Rendering:
    """Draws shapes from bottom to top on a random background of side_px × side_px pixels."""
    image = _background(rng, side_px)  # (S, S, 3) float32
    labels = np.zeros((side_px * OVERSAMPLING,) * 2, np.uint8)
    windows, drawn_area = [], []
    for number, shape in enumerate(shapes, start=1):
        contours = shape_contours_px(shape)
        windows.append(_window(contours, side_px))
        points = [_to_subpixels(contour) for contour in contours]
        cv2.fillPoly(labels, points, number, shift=_FRACTION_BITS)
        drawn_area.append(np.count_nonzero(_subpixels(labels, windows[-1]) == number))
    masks = np.zeros((len(shapes), side_px, side_px), np.uint8)
    background_left = np.ones((side_px, side_px, 1), np.float32)
    painted = np.zeros_like(image)
    visible_area = []
    for number, (shape, window) in enumerate(zip(shapes, windows, strict=True), start=1):
        covered = (_subpixels(labels, window) == number).astype(np.float32)
        visible_area.append(covered.sum())
        height, width = masks[0][window].shape
        coverage = cv2.resize(covered, (width, height), interpolation=cv2.INTER_AREA)
        masks[number - 1][window] = coverage >= 0.5
        painted[window] += coverage[..., None] * np.array(shape.rgb, np.float32)
        background_left[window] -= coverage[..., None]
    image = image * background_left + painted
    grain = np.float32(rng.uniform(1.0, 5.0))
    image += grain * rng.standard_normal(image.shape, np.float32)
    return Rendering(
        image_rgb=np.clip(np.rint(image), 0, 255).astype(np.uint8),
        masks=masks,
        visible_share=np.array(visible_area, np.float64) / np.array(drawn_area),
    )


def _window(contours: Sequence[np.ndarray], side_px: int) -> tuple[slice, slice]:
    """The rows and columns of the image that a shape may cover."""
    points = np.concatenate(contours)
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 1, side_px)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _subpixels(labels: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    rows, columns = (slice(s.start * OVERSAMPLING, s.stop * OVERSAMPLING) for s in window)
    return labels[rows, columns]


def _to_subpixels(contour_px: np.ndarray) -> np.ndarray:
    # Pixel (0, 0) spans 0..1 in image coordinates, so sub-pixel centers are at half-integers.
    subpixels = contour_px * OVERSAMPLING - 0.5
    return np.rint(subpixels * 2**_FRACTION_BITS).astype(np.int32)


def _background(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """A muted texture, float32 (S, S, 3) in 0..255: clouds, a gradient or stripes."""
    gray = rng.uniform(70, 175)
    base = np.clip(gray + rng.uniform(-22, 22, 3), 55, 185).astype(np.float32)
    style = int(rng.integers(3))
    if style == 0:
        coarse = rng.normal(0, 22, (int(rng.integers(3, 12)),) * 2).astype(np.float32)
        wave = cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[0:side_px, 0:side_px].astype(np.float32) / side_px
        along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
        if style == 1:
            wave = along * np.float32(rng.uniform(20, 70))
            wave -= wave.mean()
        else:
            n_stripes, contrast = rng.uniform(4, 14), rng.uniform(6, 20)
            wave = np.sin(along * np.float32(2 * np.pi * n_stripes)) * np.float32(contrast)
    tint = rng.uniform(0.7, 1.3, 3).astype(np.float32)
    return np.clip(base + wave[..., None] * tint, 40, 200)


def visible_objects(shapes: Sequence[Shape], rendering: Rendering) -> list[SceneObject] | None:
    """The objects of a drawn scene; None if less than `MIN_VISIBLE` of one is visible."""
    if (rendering.visible_share < MIN_VISIBLE).any():
        return None
    objects = []
    for shape, mask in zip(shapes, rendering.masks, strict=True):
        x, y, width, height = mask_box_xywh_px(mask)
        hull = cv2.convexHull(np.concatenate(shape_contours_px(shape)).astype(np.float32))
        objects.append(
            SceneObject(
                kind=shape.kind,
                colour=shape.colour,
                size=shape.size,
                left_px=float(x),
                top_px=float(y),
                right_px=float(x + width),
                bottom_px=float(y + height),
                hull_side_px=float(np.sqrt(cv2.contourArea(hull))),
            )
        )
    return objects


def mask_box_xywh_px(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight box x, y, width, height around the object of a non-empty mask uint8 (S, S)."""
    left, top, right, bottom = tight_box(mask)
    return left, top, right - left, bottom - top
