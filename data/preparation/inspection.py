"""Looking through a prepared set: what would stop a run, what is odd, and what it is like.

`inspect_set` opens images and masks; the other functions need what it found.
"""

import collections
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.loading.anchors import kmeans_anchors, shape_iou
from data.loading.annotations import Referent, check_box_in_image
from data.loading.boxes import LOW_IOU, box_iou, tight_box
from data.loading.errors import DataError
from data.loading.images import has_exif_orientation, opened_image
from data.loading.letterbox import Letterbox
from data.loading.masks import load_mask
from data.text.vectors import tokenize

MOST_BOXES = 20_000


@dataclass
class Findings:
    """What was found in one set.

    Attributes:
        problems: what would stop a run → names of where.
        oddities: what is worth a look → names of where.
        sizes: image → (width, height) in pixels, of those that could be opened.
        mask_ious: IoU of each referent's box with the box around its mask.
    """

    problems: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    oddities: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    mask_ious: list[float] = field(default_factory=list)


def inspect_set(
    referents: list[Referent],
    image_path: str | os.PathLike,
    mask_path: str | os.PathLike,
    workers: int,
    decode: bool = True,
    on_image: Callable[[int], None] = lambda done: None,
) -> Findings:
    """Opens all images and masks of a set, in parallel.

    Args:
        referents: of the set.
        image_path, mask_path: folders.
        workers: images opened at once.
        decode: read the images to the end; without it a file that breaks off is not found.
        on_image: called with the number of images that are done.
    """
    groups = collections.defaultdict(list)
    for referent in referents:
        groups[referent.image].append(referent)
    findings = Findings()
    pool = ThreadPoolExecutor(workers)

    def look(image):
        return _look_at(image, groups[image], Path(image_path), Path(mask_path), decode)

    try:
        for done, (image, looked) in enumerate(
            zip(groups, pool.map(look, groups), strict=True), start=1
        ):
            _add(findings, image, looked)
            on_image(done)
    finally:
        # After an interruption what waits would otherwise be done first.
        pool.shutdown(cancel_futures=True)
    return findings


@dataclass
class _Looked:
    """One image with its referents."""

    size: tuple[int, int] | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)
    oddities: list[tuple[str, str]] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)


def _add(findings, image, looked):
    if looked.size is not None:
        findings.sizes[image] = looked.size
    for sort, name in looked.problems:
        findings.problems[sort].append(name)
    for sort, name in looked.oddities:
        findings.oddities[sort].append(name)
    findings.mask_ious.extend(looked.mask_ious)


def _look_at(image, referents, image_path, mask_path, decode):
    looked = _Looked()
    try:
        with opened_image(image_path / image) as file:
            size = file.size
            if has_exif_orientation(file):
                looked.oddities.append(
                    ("images that programs show turned (EXIF orientation), read as stored", image)
                )
            if decode:
                file.load()
    except FileNotFoundError:
        looked.problems.append(("images that are missing", image))
        return looked
    except DataError as error:
        looked.problems.append(("images that cannot be read", str(error)))
        return looked
    looked.size = size
    for referent in referents:
        _look_at_box(looked, referent)
        _look_at_mask(looked, referent, mask_path)
    return looked


def _look_at_box(looked, referent):
    (width, height), (x1, y1, x2, y2) = looked.size, referent.box_xyxy_px
    name = f"mask-id {referent.mask_id} on {referent.image}"
    try:
        check_box_in_image(referent, width, height)
    except ValueError:
        looked.problems.append(("boxes whose centre lies outside the image", name))
        return
    if min(x1, y1) < 0 or x2 > width or y2 > height:
        looked.oddities.append(("boxes that reach outside the image", name))


def _look_at_mask(looked, referent, mask_path):
    name = f"{referent.mask_id}.npy"
    try:
        mask = load_mask(mask_path / name)
    except FileNotFoundError:
        looked.problems.append(("masks that are missing", name))
        return
    except DataError as error:
        looked.problems.append(("masks that cannot be read", str(error)))
        return
    width, height = looked.size
    if mask.shape != (height, width):
        looked.problems.append(
            (
                "masks of another size than their image",
                f"{name}: {mask.shape[1]}×{mask.shape[0]}, {referent.image} has {width}×{height}",
            )
        )
        return
    if not mask.any():
        looked.oddities.append(("masks without a pixel", name))
        return
    iou = box_iou(referent.box_xyxy_px, tight_box(mask))
    looked.mask_ious.append(iou)
    if iou < LOW_IOU:
        looked.oddities.append(
            (
                f"boxes that overlap with the box around their mask by IoU below {LOW_IOU}",
                f"{name} on {referent.image}: {iou:.2f}",
            )
        )


def expression_lengths(referents: list[Referent]) -> np.ndarray:
    """Words of each expression, int (E,)."""
    return np.array(
        [len(tokenize(text)) for referent in referents for text in referent.expressions], int
    )


def count_words(referents: list[Referent], word_len: int) -> collections.Counter:
    """How often each word occurs among the first `word_len` words of the expressions."""
    return collections.Counter(
        word
        for referent in referents
        for text in referent.expressions
        for word in tokenize(text)[:word_len]
    )


def input_box_sizes(
    referents: list[Referent], sizes: dict[str, tuple[int, int]], input_size: int
) -> np.ndarray:
    """Width and height of the boxes in input pixels, float64 (N, 2); images unknown to `sizes`
    are left out."""
    boxes = [
        np.array([r.box_xyxy_px[2] - r.box_xyxy_px[0], r.box_xyxy_px[3] - r.box_xyxy_px[1]])
        * Letterbox.fit(*sizes[r.image], input_size).scale
        for r in referents
        if r.image in sizes
    ]
    return np.array(boxes, np.float64).reshape(-1, 2)


def mean_best_iou(boxes_wh: np.ndarray, anchors_wh: np.ndarray) -> float:
    """Mean over the boxes of the IoU with the anchor that fits best, by width and height alone."""
    return float(shape_iou(boxes_wh, anchors_wh).max(axis=1).mean())


def propose_anchors(boxes_wh: np.ndarray, count: int, seed: int) -> np.ndarray | None:
    """Anchors by k-means, float32 (count, 2); None if the boxes have fewer different sizes.

    Of more than 20,000 boxes a random choice is looked at.
    """
    if len(boxes_wh) > MOST_BOXES:
        chosen = np.random.default_rng(seed).choice(len(boxes_wh), MOST_BOXES, replace=False)
        boxes_wh = boxes_wh[chosen]
    if len(np.unique(boxes_wh, axis=0)) < count:
        return None
    return kmeans_anchors(boxes_wh, count, seed)


def shared_images(first: list[Referent], second: list[Referent]) -> list[str]:
    """Names of the images that both sets have, sorted."""
    return sorted({r.image for r in first} & {r.image for r in second})
