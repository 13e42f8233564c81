"""Anchor boxes: reading and writing anchor files, and finding anchors for a data set.

An anchor file consists of one line "w,h,  w,h,  w,h" in pixels of the network's square input.
"""

import os
from pathlib import Path

import numpy as np

from config.files import write_text
from data.loading.errors import DataError

# Anchors per cell of the network.
N_ANCHORS = 3
MAX_ITERATIONS = 300
N_RESTARTS = 8


def read_anchors(path: str | os.PathLike) -> np.ndarray:
    """Reads an anchor file.

    Returns:
        (A, 2) float32, width and height in input pixels, in the order of the file.

    Raises:
        DataError: the file contains anything but an even, non-zero number of positive numbers
            separated by commas.
        OSError: the file cannot be read.
    """
    path = Path(path)
    expected = 'expected one line "w,h,  w,h,  ..." of positive sizes in pixels'
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file; {expected}") from None
    if not text:
        raise DataError(f"{path}: the file is empty; {expected}")
    numbers = []
    for field in text.split(","):
        try:
            numbers.append(float(field))
        except ValueError:
            raise DataError(f"{path}: {field.strip()!r} is not a number; {expected}") from None
    if len(numbers) % 2:
        raise DataError(f"{path}: {len(numbers)} numbers cannot be paired; {expected}")
    anchors = np.array(numbers, np.float32).reshape(-1, 2)
    if not (np.isfinite(anchors).all() and (anchors > 0).all()):
        bad = [number for number in numbers if not 0 < number < np.inf] or numbers
        raise DataError(f"{path}: {bad[0]:g} is not a size in pixels; {expected}")
    return anchors


def write_anchors(path: str | os.PathLike, anchors_wh_px: np.ndarray) -> None:
    """Writes anchors (A, 2) to a file, atomically and rounded to a hundredth of a pixel.

    Raises:
        ValueError: the array has another shape or a size that is not positive.
    """
    anchors = np.asarray(anchors_wh_px, np.float64)
    if anchors.ndim != 2 or anchors.shape[1] != 2 or not len(anchors):
        raise ValueError(f"{path}: expected anchors of shape (A, 2), got {anchors.shape}")
    if not (np.isfinite(anchors).all() and (anchors >= 0.01).all()):
        raise ValueError(f"{path}: anchors must be positive, got {anchors.tolist()}")
    pairs = [",".join(f"{size:.2f}".rstrip("0").rstrip(".") for size in pair) for pair in anchors]
    write_text(path, ",  ".join(pairs) + "\n")


def shape_iou(boxes_wh: np.ndarray, anchors_wh: np.ndarray) -> np.ndarray:
    """IoU of boxes (N, 2) and anchors (A, 2) with a common center, float64 (N, A)."""
    boxes = np.asarray(boxes_wh, np.float64)[:, None]  # (N, 1, 2)
    anchors = np.asarray(anchors_wh, np.float64)[None]  # (1, A, 2)
    intersection = np.minimum(boxes, anchors).prod(axis=-1)
    return intersection / (boxes.prod(axis=-1) + anchors.prod(axis=-1) - intersection)


def kmeans_anchors(boxes_wh: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Finds anchors by k-means with the distance 1 − IoU.

    Args:
        boxes_wh: (N, 2) widths and heights in pixels of the network's input.
        k: number of anchors.
        seed: the same boxes and seed give the same anchors.

    Returns:
        (k, 2) float32, sorted by area.

    Raises:
        ValueError: the boxes are not positive (N, 2) or have fewer than k different sizes.
    """
    boxes = np.asarray(boxes_wh, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 2:
        raise ValueError(f"expected boxes of shape (N, 2), got {boxes.shape}")
    if not (np.isfinite(boxes).all() and (boxes > 0).all()):
        raise ValueError("boxes must have a positive width and height")
    n_sizes = len(np.unique(boxes, axis=0))
    if not 1 <= k <= n_sizes:
        raise ValueError(f"{k} anchors cannot be found from {n_sizes} different box sizes")
    rng = np.random.default_rng(seed)
    # A single run may end in a local optimum with two anchors in one cluster of boxes.
    candidates = [_lloyd(boxes, _kmeans_plus_plus(rng, boxes, k)) for _ in range(N_RESTARTS)]
    anchors = max(candidates, key=lambda anchors: shape_iou(boxes, anchors).max(axis=1).mean())
    order = np.lexsort((anchors[:, 0], anchors.prod(axis=1)))
    return anchors[order].astype(np.float32)


def _lloyd(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Moves each anchor to the mean of the boxes nearest to it until nothing changes."""
    nearest = None
    for _ in range(MAX_ITERATIONS):
        previous, nearest = nearest, shape_iou(boxes, anchors).argmax(axis=1)
        if previous is not None and (nearest == previous).all():
            break
        for i in range(len(anchors)):
            # An anchor without boxes stays where it is.
            if (nearest == i).any():
                anchors[i] = boxes[nearest == i].mean(axis=0)
    return anchors


def _kmeans_plus_plus(rng: np.random.Generator, boxes: np.ndarray, k: int) -> np.ndarray:
    """Draws distant boxes as initial anchors: each in proportion to its squared distance."""
    chosen = [boxes[rng.integers(len(boxes))]]
    while len(chosen) < k:
        distance = 1 - shape_iou(boxes, np.array(chosen)).max(axis=1)
        weight = np.square(np.clip(distance, 0, None))
        if not weight.any():  # The sizes differ by less than IoU can express.
            weight = np.ones_like(weight)
        chosen.append(boxes[rng.choice(len(boxes), p=weight / weight.sum())])
    return np.array(chosen)
