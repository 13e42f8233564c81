"""From the network's mask probability to masks at the size of the image, section 3.4."""

from collections.abc import Sequence

import cv2
import numpy as np

from data.loading.letterbox import Letterbox, unletterbox_map
from model.nls import asnls


def place_masks(
    probability: np.ndarray,
    boxes_xyxy_px: np.ndarray,
    scores: np.ndarray | Sequence[float],
    geometry: Letterbox,
    use_nls: bool = True,
) -> np.ndarray:
    """Resizes maps at stride 8 to the original image.

    The steps: bilinear upsampling to the input's size, ASNLS, cropping of the letterbox's border,
    bilinear resizing to the image's size.

    Args:
        probability: (K, S/8, S/8) float32, maps of one image.
        boxes_xyxy_px: (K, 4) int, rounded boxes in the letterboxed input.
        scores: (K,) confidences of the boxes in 0..1.
        geometry: `data.loading.letterbox.Letterbox` of the image.
        use_nls: whether the box weighs the mask (ASNLS).

    Returns:
        (h, w, K) float32, to be compared with segment_thresh.
    """
    side = geometry.input_size
    stacked = np.ascontiguousarray(probability.transpose(1, 2, 0))
    maps = cv2.resize(stacked, (side, side), interpolation=cv2.INTER_LINEAR)
    maps = maps.reshape(side, side, len(probability))  # OpenCV drops an axis of length one.
    if use_nls:
        maps = asnls(maps, boxes_xyxy_px, scores)
    return unletterbox_map(maps, geometry)
