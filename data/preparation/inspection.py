"""Inspection of a prepared data set: problems, oddities and statistics.

`inspect_set` opens the images and masks; the other functions compute statistics of referents.
"""

import collections
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.loading.anchors import kmeans_anchors, shape_iou
from data.loading.annotations import Referent, check_box_in_image
from data.loading.boxes import LOW_IOU, box_iou, tight_box
from data.loading.errors import DataError
from data.loading.images import check_size, conversion_of, has_exif_orientation, opened_image
from data.loading.letterbox import Letterbox
from data.loading.masks import Masks, MaskSizeError, MissingMaskError
from data.support.threads import thread_pool
from data.text.vectors import tokenize

# k-means of more boxes would take long and hardly change the anchors.
MAX_KMEANS_BOXES = 20_000

# Kinds of problems and oddities.
MISSING_IMAGES = "missing images"
UNREADABLE_IMAGES = "unreadable images"
CONVERTED_IMAGES = "images that training converts as it reads them"
ROTATED_IMAGES = "images with an EXIF orientation: viewers rotate them, training does not"
BOXES_WITH_CENTER_OUTSIDE = "boxes whose center lies outside the image"
BOXES_PARTLY_OUTSIDE = "boxes that extend beyond the image"
MISSING_MASKS = "missing masks"
UNREADABLE_MASKS = "unreadable masks"
MASKS_OF_OTHER_SIZE = "masks whose size differs from their image"
EMPTY_MASKS = "empty masks"
BOXES_UNLIKE_MASK = f"boxes whose IoU with the bounding box of their mask is below {LOW_IOU}"


def _names_by_kind() -> dict[str, list[str]]:
    return collections.defaultdict(list)


@dataclass
class Findings:
    """What was found in a set or in one of its images.

    Attributes:
        problems: kind of problem, which would stop a run → the files or referents that have it.
        oddities: kind of oddity, which is worth a look → the files or referents that have it.
        sizes: image → (width, height) in pixels, for the images that can be opened.
        mask_ious: IoU of each referent's box with the bounding box of its mask.
    """

    problems: dict[str, list[str]] = field(default_factory=_names_by_kind)
    oddities: dict[str, list[str]] = field(default_factory=_names_by_kind)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    mask_ious: list[float] = field(default_factory=list)

    def add(self, other: "Findings") -> None:
        """Appends the findings in other images."""
        for kind, names in other.problems.items():
            self.problems[kind].extend(names)
        for kind, names in other.oddities.items():
            self.oddities[kind].extend(names)
        self.sizes.update(other.sizes)
        self.mask_ious.extend(other.mask_ious)


def inspect_set(
    referents: list[Referent],
    image_path: str | os.PathLike,
    masks: Masks | None,
    workers: int,
    decode: bool = True,
    on_image: Callable[[int], None] = lambda done: None,
    more_images: Iterable[str] = (),
) -> Findings:
    """Opens all images and masks of a set, in parallel.

    Args:
        referents: referents of the set.
        image_path: folder of the images.
        masks: the masks; None: only the images are opened.
        workers: number of threads.
        decode: whether to decode the images; otherwise truncated files are not found.
        on_image: called after each image with the number of images done so far.
        more_images: images without referents to open as well.
    """
    groups: dict[str, list[Referent]] = collections.defaultdict(list)
    for referent in referents:
        groups[referent.image].append(referent)
    for image in more_images:
        groups.setdefault(image, [])
    findings = Findings()

    def inspect(image: str) -> Findings:
        return _inspect_image(image, groups[image], Path(image_path), masks, decode)

    with thread_pool(workers) as pool:
        for done, of_image in enumerate(pool.map(inspect, groups), start=1):
            findings.add(of_image)
            on_image(done)
    return findings


def _inspect_image(
    image: str, referents: list[Referent], image_path: Path, masks: Masks | None, decode: bool
) -> Findings:
    findings = Findings()
    try:
        with opened_image(image_path / image) as file:
            check_size(file, image_path / image)
            size = file.size
            if has_exif_orientation(file):
                findings.oddities[ROTATED_IMAGES].append(image)
            if conversion := conversion_of(file):
                findings.oddities[f"{CONVERTED_IMAGES}: {conversion}"].append(image)
            if decode:
                file.load()
    except FileNotFoundError:
        findings.problems[MISSING_IMAGES].append(image)
        return findings
    except DataError as error:
        findings.problems[UNREADABLE_IMAGES].append(str(error))
        return findings
    findings.sizes[image] = size
    for referent in referents:
        _inspect_box(findings, referent, size)
        if masks is not None:
            _inspect_mask(findings, referent, size, masks)
    return findings


def _inspect_box(findings: Findings, referent: Referent, size: tuple[int, int]) -> None:
    (width, height), (x1, y1, x2, y2) = size, referent.box_xyxy_px
    name = f"mask-id {referent.mask_id} on {referent.image}"
    try:
        check_box_in_image(referent, width, height)
    except DataError:
        findings.problems[BOXES_WITH_CENTER_OUTSIDE].append(name)
        return
    if min(x1, y1) < 0 or x2 > width or y2 > height:
        findings.oddities[BOXES_PARTLY_OUTSIDE].append(name)


def _inspect_mask(
    findings: Findings, referent: Referent, size: tuple[int, int], masks: Masks
) -> None:
    name = f"mask-id {referent.mask_id} on {referent.image}"
    try:
        mask = masks.read(referent, *size)
    except MissingMaskError:
        findings.problems[MISSING_MASKS].append(name)
        return
    except MaskSizeError as error:
        findings.problems[MASKS_OF_OTHER_SIZE].append(str(error))
        return
    except DataError as error:
        findings.problems[UNREADABLE_MASKS].append(str(error))
        return
    if not mask.any():
        findings.oddities[EMPTY_MASKS].append(name)
        return
    iou = box_iou(referent.box_xyxy_px, tight_box(mask))
    findings.mask_ious.append(iou)
    if iou < LOW_IOU:
        findings.oddities[BOXES_UNLIKE_MASK].append(f"{name}: {iou:.2f}")


def expression_lengths(referents: list[Referent]) -> np.ndarray:
    """Number of words of each expression, int (E,)."""
    return np.array(
        [len(tokenize(text)) for referent in referents for text in referent.expressions], int
    )


def count_words(referents: list[Referent], word_len: int) -> collections.Counter[str]:
    """Counts the words within the first `word_len` words of each expression."""
    return collections.Counter(
        word
        for referent in referents
        for text in referent.expressions
        for word in tokenize(text)[:word_len]
    )


def input_box_sizes(
    referents: list[Referent], sizes: dict[str, tuple[int, int]], input_size: int
) -> np.ndarray:
    """Computes the sizes that boxes have in the letterboxed input.

    Args:
        referents: referents of a set.
        sizes: image → (width, height) in pixels; referents on other images are skipped.
        input_size: side of the square input in pixels.

    Returns:
        (N, 2) float64, width and height in input pixels.
    """
    boxes = []
    for referent in referents:
        if referent.image in sizes:
            x1, y1, x2, y2 = referent.box_xyxy_px
            scale = Letterbox.fit(*sizes[referent.image], input_size).scale
            boxes.append(np.array([x2 - x1, y2 - y1]) * scale)
    return np.array(boxes, np.float64).reshape(-1, 2)


def mean_best_iou(boxes_wh: np.ndarray, anchors_wh: np.ndarray) -> float:
    """Mean over boxes (N, 2) of the IoU with the best of anchors (A, 2), all centered alike."""
    return float(shape_iou(boxes_wh, anchors_wh).max(axis=1).mean())


def propose_anchors(boxes_wh: np.ndarray, count: int, seed: int) -> np.ndarray | None:
    """Finds anchors for boxes (N, 2) by k-means.

    More than `MAX_KMEANS_BOXES` boxes are subsampled at random.

    Returns:
        (count, 2) float32; None if the boxes have fewer than `count` different sizes.
    """
    if len(boxes_wh) > MAX_KMEANS_BOXES:
        chosen = np.random.default_rng(seed).choice(len(boxes_wh), MAX_KMEANS_BOXES, replace=False)
        boxes_wh = boxes_wh[chosen]
    if len(np.unique(boxes_wh, axis=0)) < count:
        return None
    return kmeans_anchors(boxes_wh, count, seed)
