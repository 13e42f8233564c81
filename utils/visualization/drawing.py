"""Pictures of predictions: boxes and masks over the photograph, with a caption below.

Predictions are orange with solid lines, the ground truth beside them is blue with dashed lines, so
that the two differ in color and in style. Neither hides or recolors what an expression speaks of:
lines lie outside of boxes and masks, and the fill of a predicted mask is faint.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from utils.visualization.outlines import draw_box, draw_mask_outline, pen_of
from utils.visualization.palette import PAPER, PREDICTED, TRUTH
from utils.visualization.typesetting import Caption, draw_caption

MASK_OPACITY = 0.12
NARROWEST = 0.5  # The width of a picture is at least this part of its size: room for the caption.

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
    unknown_words: Sequence[str] = (),
    unread_words: Sequence[str] = (),
    nothing_found: bool = False,
) -> np.ndarray:
    """Draws the prediction for one expression, with a caption.

    The photograph is scaled until its longer side has `width` pixels; smaller ones are enlarged.
    Lines and letters grow with `width`.

    Args:
        image: (H, W, 3) uint8, RGB.
        expression: the expression, in any script; long ones are wrapped, then truncated.
        pred_box_xyxy_px: (4,) in pixels of `image`, or None.
        pred_mask: (H, W) bool or 0/1, or None.
        true_box_xyxy_px, true_mask: the ground truth in the same form, or None.
        score: confidence of the box in 0..1, or None to omit it.
        det_iou, seg_iou: IoU of box and mask with the ground truth, or None to omit them.
        width: width of pictures that are not upright, and height of upright ones without their
            caption, in pixels.
        unknown_words, unread_words: words that the caption marks as those that the network does
            not know, and does not read, see `utils.prediction.prediction.Prediction`.
        nothing_found: whether the caption says that nothing was found.

    Returns:
        (h, w, 3) uint8, RGB. The picture is as wide as the scaled photograph; only those that are
        more than twice as high as wide have margins.

    Raises:
        ValueError: the image is not uint8 RGB, or a mask has another size.
    """
    canvas = draw_overlay(
        image, pred_box_xyxy_px, pred_mask, true_box_xyxy_px, true_mask, width=width
    )
    caption = Caption(
        expression,
        {"score": score, "box IoU": det_iou, "mask IoU": seg_iou},
        prediction_shown=pred_box_xyxy_px is not None or pred_mask is not None,
        truth_shown=true_box_xyxy_px is not None or true_mask is not None,
        unknown_words=tuple(unknown_words),
        unread_words=tuple(unread_words),
        nothing_found=nothing_found,
    )
    canvas = _widened(canvas, round(NARROWEST * width))
    return np.concatenate([canvas, draw_caption(caption, canvas.shape[1], width)])


def draw_overlay(
    image: np.ndarray,
    pred_box_xyxy_px: Box | None = None,
    pred_mask: np.ndarray | None = None,
    true_box_xyxy_px: Box | None = None,
    true_mask: np.ndarray | None = None,
    width: int = 480,
) -> np.ndarray:
    """Draws boxes and masks as `draw_prediction` does, without a caption or margins.

    Args, Raises:
        As those of `draw_prediction`.

    Returns:
        (h, w, 3) uint8, RGB: the scaled photograph, whose longer side has `width` pixels.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    canvas = _resize(image, width)
    scale = np.tile(np.divide(canvas.shape[1::-1], image.shape[1::-1]), 2)  # x, y, x, y
    pen, thin = pen_of(width), pen_of(width, thin=True)
    if pred_mask is not None:
        mask = _scaled_mask(pred_mask, image, canvas.shape)
        _tint(canvas, mask)
        draw_mask_outline(canvas, mask, PREDICTED, thin)
    if pred_box_xyxy_px is not None:
        draw_box(canvas, np.asarray(pred_box_xyxy_px) * scale, PREDICTED, pen)
    # The truth comes last: between its dashes the prediction shows even where both coincide.
    dashed = pred_mask is not None or pred_box_xyxy_px is not None
    if true_mask is not None:
        mask = _scaled_mask(true_mask, image, canvas.shape)
        draw_mask_outline(canvas, mask, TRUTH, thin, dashed)
    if true_box_xyxy_px is not None:
        draw_box(canvas, np.asarray(true_box_xyxy_px) * scale, TRUTH, pen, dashed)
    return canvas


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    scale = size / max(image.shape[:2])
    height, width = (min(max(round(side * scale), 1), size) for side in image.shape[:2])
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    # A copy even of an image that already has the size: lines are drawn into it.
    return np.array(cv2.resize(image, (width, height), interpolation=method))


def _scaled_mask(mask: np.ndarray, image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resizes a mask to the picture, with a smooth outline: bool."""
    mask = np.asarray(mask)
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask of shape {mask.shape} for an image of shape {image.shape}")
    soft = cv2.resize((mask > 0).astype(np.float32), shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if shape[0] > mask.shape[0]:
        # Without the blur, enlarged pixels would show as a staircase.
        soft = cv2.GaussianBlur(soft, (0, 0), 0.5 * shape[0] / mask.shape[0])
    return np.asarray(soft >= 0.5)


def _tint(canvas: np.ndarray, mask: np.ndarray) -> None:
    inside = canvas[mask].astype(np.float32)
    canvas[mask] = np.rint(inside + MASK_OPACITY * (np.asarray(PREDICTED, np.float32) - inside))


def _widened(canvas: np.ndarray, width: int) -> np.ndarray:
    """Adds margins to a picture that is narrower than `width`."""
    missing = max(width - canvas.shape[1], 0)
    margins = ((0, 0), (missing // 2, missing - missing // 2), (0, 0))
    return np.pad(canvas, margins, constant_values=PAPER[0])
