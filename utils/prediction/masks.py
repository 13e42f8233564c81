"""From the network's mask probability to masks at the size of the image, section 3.4."""

import cv2
import numpy as np

from data.loading.letterbox import Letterbox, unletterbox_map
from model.nls import asnls


def place_mask(
    probability: np.ndarray,
    box_xyxy_px: np.ndarray,
    score: float,
    geometry: Letterbox,
    use_nls: bool = True,
) -> np.ndarray:
    """Resizes a map at stride 8 to the original image.

    The steps: bilinear upsampling to the input's size, ASNLS, cropping of the letterbox's border,
    bilinear resizing to the image's size.

    Args:
        probability: (S/8, S/8) float32.
        box_xyxy_px: (4,) int, rounded box in the letterboxed input.
        score: confidence of the box in 0..1.
        geometry: `data.loading.letterbox.Letterbox` of the image.
        use_nls: whether the box weighs the mask (ASNLS).

    Returns:
        (h, w) float32, to be compared with segment_thresh.
    """
    side = geometry.input_size
    square = cv2.resize(probability, (side, side), interpolation=cv2.INTER_LINEAR)
    if use_nls:
        square = asnls(square[..., None], np.asarray(box_xyxy_px)[None], [score])[..., 0]
    return unletterbox_map(square, geometry)
