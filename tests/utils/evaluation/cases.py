"""Measured expressions for tests."""

from utils.evaluation.results.measurement import Measurement


def case(index=0, **changes):
    """A `Measurement` whose box and mask are correct, with some of its values changed."""
    values = {
        "index": index,
        "image": "a.png",
        "expression": "red box",
        "box_xyxy": (0.0, 0.0, 10.0, 10.0),
        "box_xyxy_input": None,
        "score": 0.5,
        "det_iou": 0.8,
        "seg_iou": 0.75,
        "intersection": 75,
        "union": 100,
        "true_box_xyxy": (0, 0, 10, 10),
        "mask_id": index,
        "category": 0,
    }
    return Measurement(**(values | changes))
