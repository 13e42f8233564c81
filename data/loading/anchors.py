"""Anchor boxes: reading and writing anchors files, and finding anchors for a data set.

An anchors file is one line "w,h,  w,h,  w,h" in pixels of the network's input square.
"""

from pathlib import Path

import numpy as np

MAX_ROUNDS = 300
N_STARTS = 8


def read_anchors(path: str | Path) -> np.ndarray:
    """Anchor sizes of a file, float32 (A, 2): width, height in input pixels, in the file's order.

    Raises ValueError (naming the file) for anything but an even, non-zero count of positive
    numbers parted by commas, and OSError if the file cannot be read.
    """
    path = Path(path)
    wanted = 'one line "w,h,  w,h,  ..." of positive pixel sizes is wanted'
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file; {wanted}") from None
    if not text:
        raise ValueError(f"{path}: the file is empty; {wanted}")
    numbers = []
    for field in text.split(","):
        try:
            numbers.append(float(field))
        except ValueError:
            raise ValueError(f"{path}: {field.strip()!r} is not a number; {wanted}") from None
    if len(numbers) % 2:
        raise ValueError(f"{path}: found {len(numbers)} numbers, which makes no pairs; {wanted}")
    anchors = np.array(numbers, np.float32).reshape(-1, 2)
    if not (np.isfinite(anchors).all() and (anchors > 0).all()):
        bad = [number for number in numbers if not 0 < number < np.inf]
        raise ValueError(f"{path}: found a side of {bad[0]:g} pixels; {wanted}")
    return anchors


def write_anchors(path: str | Path, anchors_wh_px: np.ndarray) -> None:
    """Write anchors (A, 2) so that `read_anchors` gives them back, to a hundredth of a pixel.

    Raises ValueError for an array of another shape or with a side that is not positive.
    """
    anchors = np.asarray(anchors_wh_px, np.float64)
    if anchors.ndim != 2 or anchors.shape[1] != 2 or not len(anchors):
        raise ValueError(f"{path}: anchors of shape (A, 2) are wanted, got {anchors.shape}")
    if not (np.isfinite(anchors).all() and (anchors >= 0.01).all()):
        raise ValueError(f"{path}: anchors must be positive, got {anchors.tolist()}")
    pairs = [",".join(f"{side:.2f}".rstrip("0").rstrip(".") for side in pair) for pair in anchors]
    Path(path).write_text(",  ".join(pairs) + "\n", encoding="utf-8")


def shape_iou(boxes_wh: np.ndarray, anchors_wh: np.ndarray) -> np.ndarray:
    """IoU of boxes (N, 2) with anchors (A, 2) that share their centre, float64 (N, A)."""
    boxes = np.asarray(boxes_wh, np.float64)[:, None]  # (N, 1, 2)
    anchors = np.asarray(anchors_wh, np.float64)[None]  # (1, A, 2)
    intersection = np.minimum(boxes, anchors).prod(axis=-1)
    return intersection / (boxes.prod(axis=-1) + anchors.prod(axis=-1) - intersection)


def kmeans_anchors(boxes_wh: np.ndarray, k: int, seed: int) -> np.ndarray:
    """k anchors by k-means under the distance 1 − IoU, float32 (k, 2) sorted by area.

    boxes_wh (N, 2) are widths and heights in pixels of the network's input. The same boxes and
    seed give the same anchors. Raises ValueError for boxes that are not positive (N, 2) or that
    have fewer than k different sizes.
    """
    boxes = np.asarray(boxes_wh, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 2:
        raise ValueError(f"boxes of shape (N, 2) are wanted, got {boxes.shape}")
    if not (np.isfinite(boxes).all() and (boxes > 0).all()):
        raise ValueError("boxes need a positive width and height, found one without")
    n_sizes = len(np.unique(boxes, axis=0))
    if not 1 <= k <= n_sizes:
        raise ValueError(f"{k} anchors cannot be had from {n_sizes} different box sizes")
    rng = np.random.default_rng(seed)
    # A single start may end with two anchors in one group of boxes.
    found = [_settle(boxes, _spread_start(rng, boxes, k)) for _ in range(N_STARTS)]
    anchors = max(found, key=lambda anchors: shape_iou(boxes, anchors).max(axis=1).mean())
    order = np.lexsort((anchors[:, 0], anchors.prod(axis=1)))
    return anchors[order].astype(np.float32)


def _settle(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Move each anchor to the mean of the boxes nearest to it until nothing changes."""
    nearest = None
    for _ in range(MAX_ROUNDS):
        previous, nearest = nearest, shape_iou(boxes, anchors).argmax(axis=1)
        if previous is not None and (nearest == previous).all():
            break
        for i in range(len(anchors)):
            # An anchor that lost its boxes stays where it is.
            if (nearest == i).any():
                anchors[i] = boxes[nearest == i].mean(axis=0)
    return anchors


def _spread_start(rng: np.random.Generator, boxes: np.ndarray, k: int) -> np.ndarray:
    """Boxes far apart to start from: each is drawn in proportion to its squared distance."""
    chosen = [boxes[rng.integers(len(boxes))]]
    while len(chosen) < k:
        distance = 1 - shape_iou(boxes, np.array(chosen)).max(axis=1)
        weight = np.square(np.clip(distance, 0, None))
        chosen.append(boxes[rng.choice(len(boxes), p=weight / weight.sum())])
    return np.array(chosen)
