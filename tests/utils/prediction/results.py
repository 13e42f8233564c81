"""Predictions without a network, and what `utils.prediction.output` made of them."""

import json

import numpy as np

from data.loading.letterbox import Letterbox
from utils.prediction.prediction import Prediction

SIZE = (60, 80)


def prediction(expression, **changes):
    mask = np.zeros(SIZE, bool)
    mask[10:30, 20:70] = True
    values = {
        "expression": expression,
        "box_xyxy": np.array([20.123, 10.0, 70.0, 30.5]),
        "score": 0.75321,
        "mask": mask,
        "seconds": 0.5,
        "unknown_words": (),
        "unread_words": (),
        "segment_thresh": 0.35,
        "use_nls": True,
        "geometry": Letterbox.fit(80, 60, 96),
        "box_xyxy_input": np.zeros(4, np.int32),
        "probability_input": np.zeros((12, 12), np.float32),
    }
    return Prediction(**(values | changes))


def files(folder):
    """Names in a folder of results, without index.html, which follows from the others."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return sorted(names - {"index.html"})


def records_in(folder):
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]
