"""Pictures of predictions: boxes and masks over the photograph, with a caption below.

Predictions are orange with solid lines, the ground truth is blue with dashed lines, so that the
two differ in color and in style. Every line has a dark edge, which keeps it visible on bright and
on dark backgrounds.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from utils.visualization.palette import BACKDROP, EDGE, PREDICTED, TRUTH
from utils.visualization.typesetting import draw_caption

MASK_OPACITY = 0.35
EDGE_OPACITY = 0.55
DASH_PERIOD = 2.2
SUBPIXEL_BITS = 4

Box = np.ndarray | Sequence[float]


def draw_prediction(
    image: np.ndarray,
    expression: str,
    pred_box_xyxy_px: Box | None,
    pred_mask: np.ndarray | None,
    true_box_xyxy_px: Box | None = None,
    true_mask: np.ndarray | None = None,
    score: float | None = None,
    det_iou: float | None = None,
    seg_iou: float | None = None,
    width: int = 480,
) -> np.ndarray:
    """Draws the prediction for one expression, with a caption.

    The photograph is scaled to fit a square of `width` pixels; smaller ones are enlarged.

    Args:
        image: (H, W, 3) uint8, RGB.
        expression: the expression, in any script; long ones are wrapped, then truncated.
        pred_box_xyxy_px: (4,) in pixels of `image`, or None.
        pred_mask: (H, W) bool or 0/1, or None.
        true_box_xyxy_px, true_mask: the ground truth in the same form, or None.
        score: confidence of the box in 0..1, or None to omit it.
        det_iou, seg_iou: IoU of box and mask with the ground truth, or None to omit them.
        width: width of the picture in pixels.

    Returns:
        (h, width, 3) uint8, RGB.

    Raises:
        ValueError: the image is not uint8 RGB, or a mask has another size.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    scale = width / max(image.shape[:2])
    canvas = _resize(image, scale, width)
    thickness = max(width / 200, 2.0)
    if pred_mask is not None:
        mask = _scaled_mask(pred_mask, image, canvas.shape)
        canvas = _tint(canvas, mask, PREDICTED)
        _draw_paths(canvas, _contours(mask), PREDICTED, 0.8 * thickness)
    if pred_box_xyxy_px is not None:
        _draw_paths(canvas, [_corners(pred_box_xyxy_px, scale, canvas)], PREDICTED, thickness)
    # The truth comes last: between its dashes the prediction shows even where both coincide.
    if true_mask is not None:
        contours = _contours(_scaled_mask(true_mask, image, canvas.shape))
        _draw_paths(canvas, contours, TRUTH, 0.8 * thickness, dash=3.5 * thickness)
    if true_box_xyxy_px is not None:
        corners = _corners(true_box_xyxy_px, scale, canvas)
        _draw_paths(canvas, [corners], TRUTH, thickness, dash=5 * thickness)
    prediction_shown = pred_box_xyxy_px is not None or pred_mask is not None
    truth_shown = true_box_xyxy_px is not None or true_mask is not None
    figures = {"score": score, "box IoU": det_iou, "mask IoU": seg_iou}
    caption = draw_caption(expression, figures, prediction_shown, truth_shown, width)
    return np.concatenate([_centered(canvas, width), caption])


def _resize(image, scale, width):
    new_height, new_width = (max(round(side * scale), 1) for side in image.shape[:2])
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    size = (min(new_width, width), min(new_height, width))
    return cv2.resize(image, size, interpolation=method)


def _scaled_mask(mask, image, shape):
    """Resizes a mask to the picture, with a smooth outline: bool."""
    mask = np.asarray(mask)
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask of shape {mask.shape} for an image of shape {image.shape}")
    soft = cv2.resize((mask > 0).astype(np.float32), shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if shape[0] > mask.shape[0]:
        # Without the blur, enlarged pixels would show as a staircase.
        soft = cv2.GaussianBlur(soft, (0, 0), 0.5 * shape[0] / mask.shape[0])
    return soft >= 0.5


def _tint(canvas, mask, color):
    tinted = canvas.astype(np.float32)
    tinted[mask] += MASK_OPACITY * (np.asarray(color, np.float32) - tinted[mask])
    return np.rint(tinted).astype(np.uint8)


def _contours(mask):
    """Outlines of a mask, including holes: list of float (n, 2) x, y, closed."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [_closed(points[:, 0, :].astype(np.float64)) for points in contours]


def _corners(box_xyxy_px, scale, canvas):
    """A box as a closed path on the picture, clipped to its border."""
    x1, y1, x2, y2 = np.asarray(box_xyxy_px, np.float64) * scale
    height, width = canvas.shape[:2]
    x1, x2 = np.clip([x1, x2], 1, width - 2)
    y1, y2 = np.clip([y1, y2], 1, height - 2)
    return _closed(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]))


def _closed(points):
    return np.concatenate([points, points[:1]])


def _draw_paths(canvas, paths, color, thickness, dash=None):
    """Draws closed paths with a dark edge; `dash` is the length of a dash, None for solid lines."""
    pieces = paths if dash is None else [piece for path in paths for piece in _dashes(path, dash)]
    fixed = [np.rint(piece * 2**SUBPIXEL_BITS).astype(np.int32) for piece in pieces]
    inner = max(round(thickness), 1)
    edge, inside = (np.asarray(paint, np.float32) for paint in (EDGE, color))
    for width, paint, opacity in ((inner + 2, edge, EDGE_OPACITY), (inner, inside, 1.0)):
        coverage = np.zeros(canvas.shape[:2], np.uint8)
        cv2.polylines(coverage, fixed, False, 255, width, cv2.LINE_AA, SUBPIXEL_BITS)
        touched = coverage > 0
        alpha = opacity / 255 * coverage[touched][:, None].astype(np.float32)
        canvas[touched] = np.rint(canvas[touched] * (1 - alpha) + alpha * paint)


def _dashes(path, dash):
    """Cuts a path into dashes with wide gaps, part of which their round ends fill."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    length = along[-1]
    if length <= 0:
        return []
    count = max(round(length / (DASH_PERIOD * dash)), 1)
    period = length / count
    pieces = []
    for start in np.arange(count) * period:
        end = start + period / DASH_PERIOD
        inside = along[(along > start) & (along < end)]
        places = np.concatenate([[start], inside, [end]])
        pieces.append(np.stack([np.interp(places, along, path[:, k]) for k in (0, 1)], axis=1))
    return pieces


def _centered(canvas, width):
    """Centers the picture in a strip of full width."""
    left = (width - canvas.shape[1]) // 2
    strip = np.empty((canvas.shape[0], width, 3), np.uint8)
    strip[:] = BACKDROP
    strip[:, left : left + canvas.shape[1]] = canvas
    return strip
