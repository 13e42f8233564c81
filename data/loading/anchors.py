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
# Published checkpoints only work with these.
PUBLISHED = Path(__file__).resolve().parents[1] / "yolo_anchors.txt"
MIN_SIZE, MAX_SIZE = 0.01, 1e6  # Pixels.
MAX_BYTES = 10_000  # Of a file.
MAX_ITERATIONS = 300
EXPECTED = f'expected one line "w,h,  w,h,  w,h" of {N_ANCHORS} sizes in pixels'
N_RESTARTS = 8


def read_anchors(path: str | os.PathLike) -> np.ndarray:
    """Reads an anchor file.

    Returns:
        (3, 2) float32, width and height in input pixels, in the order of the file.

    Raises:
        DataError: the file contains anything but three pairs of sizes separated by commas.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # Opening a pipe waits for a writer.
        raise DataError(f"{path}: not a file; {EXPECTED}")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: the file has more than {MAX_BYTES:,} bytes; {EXPECTED}")
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file; {EXPECTED}") from None
    if not text:
        raise DataError(f"{path}: the file is empty; {EXPECTED}")
    numbers = []
    for field in text.split(","):
        try:
            numbers.append(float(field))
        except ValueError:
            shown = repr(field.strip()[:50])
            raise DataError(f"{path}: {shown} is not a number; {EXPECTED}") from None
        if not MIN_SIZE <= numbers[-1] <= MAX_SIZE:
            raise DataError(f"{path}: {numbers[-1]:g} is not a size in pixels; {EXPECTED}")
    if len(numbers) != 2 * N_ANCHORS:
        raise DataError(f"{path}: found {len(numbers)} numbers; {EXPECTED}")
    return np.array(numbers, np.float32).reshape(-1, 2)


def write_anchors(path: str | os.PathLike, anchors_wh_px: np.ndarray) -> None:
    """Writes anchors (3, 2) to a file, atomically and rounded to a hundredth of a pixel.

    Raises:
        ValueError: the array has another shape.
        DataError: a size is less than a hundredth of a pixel or huge, or see
            `check_anchor_target`.
    """
    path, anchors = Path(path), np.asarray(anchors_wh_px, np.float64)
    if anchors.shape != (N_ANCHORS, 2):
        raise ValueError(f"{path}: expected anchors of shape (3, 2), got {anchors.shape}")
    if not ((anchors >= MIN_SIZE) & (anchors <= MAX_SIZE)).all():
        raise DataError(
            f"{path}: cannot store {anchors.tolist()}: anchors are sizes of {MIN_SIZE:g} to "
            f"{MAX_SIZE:,.0f} pixels"
        )
    check_anchor_target(path)
    pairs = [",".join(f"{size:.2f}".rstrip("0").rstrip(".") for size in pair) for pair in anchors]
    write_text(path, ",  ".join(pairs) + "\n")


def check_anchor_target(path: str | os.PathLike) -> None:
    """Checks that `write_anchors` may create or replace a file.

    Raises:
        DataError: the file exists, and holds the published anchors or something else.
    """
    path = Path(path)
    if os.path.realpath(path) == str(PUBLISHED):
        raise DataError(f"{path}: published checkpoints need these anchors; choose another file")
    if path.exists():
        try:
            read_anchors(path)
        except DataError:
            raise DataError(
                f"{path}: this file does not contain anchors ({EXPECTED}); choose another file"
            ) from None


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
        ValueError: the boxes are not positive (N, 2), or beyond 1e-30 to 1e30, or have fewer than
            k different sizes.
    """
    boxes = np.asarray(boxes_wh, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 2:
        raise ValueError(f"expected boxes of shape (N, 2), got {boxes.shape}")
    if not ((boxes >= 1e-30) & (boxes <= 1e30)).all():  # Areas of others are 0 or infinite.
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
