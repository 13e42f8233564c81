"""The output of a network for the expressions of one image, compared with the ground truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.loading.image_groups import LoadedImage
from data.loading.letterbox import letterbox_box, unletterbox_box
from data.loading.masks import Masks
from utils.evaluation.metrics import detection_iou, mask_iou
from utils.evaluation.results.measurement import Measurement, encode_mask
from utils.prediction.masks import place_mask


@dataclass(frozen=True, eq=False)
class GroundedImage:
    """The output of the network for the K expressions of one image.

    Attributes:
        image: the image with its referents.
        boxes_px: (K, 4) float, in pixels of the letterboxed input.
        rounded_px: (K, 4) int, the same rounded.
        scores: (K,) confidences in 0..1.
        probability: (K, S/8, S/8) of the masks.
    """

    image: LoadedImage
    boxes_px: np.ndarray
    rounded_px: np.ndarray
    scores: np.ndarray
    probability: np.ndarray


def measure_image(
    grounded: GroundedImage,
    masks: Masks,
    segment_thresh: float,
    use_nls: bool,
    keep_masks: bool = False,
    encode_masks: bool = False,
) -> Iterator[Measurement]:
    """Compares the predictions for one image with its boxes and masks.

    One expression follows another, because masks of large images take much memory.

    Args:
        grounded: the predictions.
        masks: the true masks.
        segment_thresh, use_nls: how masks are predicted.
        keep_masks: whether measurements contain the masks.
        encode_masks: whether measurements contain the run lengths of the predicted masks.

    Yields:
        A `Measurement` for each expression, in the order of the referents.

    Raises:
        DataError: a true mask cannot be read.
    """
    group, geometry, k = grounded.image.group, grounded.image.geometry, 0
    boxes = unletterbox_box(grounded.boxes_px, geometry)
    for referent, first in zip(group.referents, group.first_expression, strict=True):
        true_mask = masks.read(referent, geometry.image_width, geometry.image_height)
        true_box_input = letterbox_box(referent.box_xyxy_px, geometry)
        true_px = int(np.count_nonzero(true_mask))
        for index, expression in enumerate(referent.expressions, start=first):
            rounded, score = grounded.rounded_px[k], float(grounded.scores[k])
            mask = (
                place_mask(grounded.probability[k], rounded, score, geometry, use_nls)
                > segment_thresh
            )
            seg_iou, intersection, union = mask_iou(mask, true_mask)
            yield Measurement(
                index=index,
                image=referent.image,
                expression=expression,
                box_xyxy=tuple(boxes[k]),
                box_xyxy_input=tuple(rounded),
                score=score,
                det_iou=float(detection_iou(rounded, true_box_input)),
                seg_iou=float(seg_iou),
                intersection=intersection,
                union=union,
                true_box_xyxy=referent.box_xyxy_px,
                mask_id=referent.mask_id,
                category=referent.category,
                true_px=true_px,
                mask=mask if keep_masks else None,
                true_mask=true_mask if keep_masks else None,
                run_lengths=encode_mask(mask) if encode_masks else None,
            )
            k += 1
