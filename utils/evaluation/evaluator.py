"""Evaluation of a network on a set, section 4.2 of the paper.

Each image is encoded once, then all its expressions are grounded. Metrics are summed as results
arrive; masks are resized and compared in threads while the network processes the next images.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from config.schema import Config
from data.loading.annotations import Referent, read_annotations
from data.loading.letterbox import letterbox_box, unletterbox_box
from data.loading.masks import Masks, open_masks
from data.loading.pipeline import (
    ImageGroup,
    LoadedImage,
    Words,
    evaluation_images,
    group_by_image,
)
from data.preparation.manifest import check_pairing
from data.support.progress import Progress
from utils.evaluation.metrics import Metrics, Result, detection_iou, mask_iou
from utils.prediction.expressions import build_words
from utils.prediction.grounder import Grounder
from utils.prediction.masks import place_masks

EXPRESSIONS_KEPT = 4096


@dataclass(frozen=True, eq=False)
class Measurement:
    """The prediction for one expression, compared with the ground truth.

    Attributes:
        index: position of the expression in the set.
        image: file name.
        expression: the words.
        box_xyxy: (4,) float, in pixels of the original image.
        box_xyxy_input: (4,) int, rounded, in pixels of the letterboxed input.
        score: confidence of the box in 0..1.
        det_iou, seg_iou: IoU of the box and of the mask.
        intersection, union: of the masks, in pixels.
        true_box_xyxy: (4,) int, in pixels of the original image.
        mask, true_mask: (h, w) at the size of the image; None unless they were requested.
    """

    index: int
    image: str
    expression: str
    box_xyxy: tuple[float, ...]
    box_xyxy_input: tuple[int, ...]
    score: float
    det_iou: float
    seg_iou: float
    intersection: int
    union: int
    true_box_xyxy: tuple[int, ...]
    mask: np.ndarray | None = None
    true_mask: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of a line of test.py's --dump."""
        return {
            "image": self.image,
            "expression": self.expression,
            "box_xyxy": [round(float(v), 3) for v in self.box_xyxy],
            "box_xyxy_input": [int(v) for v in self.box_xyxy_input],
            "score": self.score,
            "det_iou": self.det_iou,
            "seg_iou": self.seg_iou,
        }


@dataclass(frozen=True, eq=False)
class GroundedImage:
    """The output of the network for the K expressions of one image.

    Attributes:
        image: the image with its referents and true masks.
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


@dataclass(eq=False)
class Evaluator:
    """Evaluates networks on a set.

    Attributes:
        referents: referents of the set.
        words: encodes their expressions, see `utils.prediction.expressions.build_words`.
        image_path, mask_path: folders.
        batch_size: images that are encoded, and expressions that are grounded, at once.
        det_thresh, segment_thresh, use_nls: config keys det_acc_thresh, segment_thresh, use_nls.
        workers: images that are loaded, and whose masks are compared, in parallel.
        prefetch: batches of images that are loaded in advance.
        groups: the images of the set with their referents.
    """

    referents: Sequence[Referent]
    words: Words
    image_path: str | os.PathLike
    mask_path: str | os.PathLike
    _: KW_ONLY
    batch_size: int = 8
    det_thresh: float = 0.5
    segment_thresh: float = 0.35
    use_nls: bool = True
    workers: int = 8
    prefetch: int = 2
    groups: list[ImageGroup] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = group_by_image(self.referents)

    @cached_property
    def masks(self) -> Masks:
        """The masks of the set, opened when they are first used."""
        return open_masks(self.mask_path)

    @property
    def n_expressions(self) -> int:
        """Number of expressions of the set."""
        return sum(len(referent.expressions) for referent in self.referents)

    def restricted(self, indices: Sequence[int] | np.ndarray) -> "Evaluator":
        """Returns an evaluator of some expressions, given by their positions in the set."""
        pairs = [
            (referent, expression)
            for referent in self.referents
            for expression in referent.expressions
        ]
        chosen = [pairs[index] for index in indices]
        referents = [replace(referent, expressions=(text,)) for referent, text in chosen]
        return replace(self, referents=referents)

    def evaluate(
        self,
        grounder: Grounder,
        word_len: int,
        label: str = "evaluate",
        on_measured: Callable[[Measurement], object] | None = None,
    ) -> Result:
        """Evaluates a network on the whole set.

        Args:
            grounder: the network.
            word_len: number of words that are read per expression.
            label: label of the progress bar.
            on_measured: called with each `Measurement`, in the order of the images.

        Returns:
            dict of `Metrics.result`.
        """
        metrics = Metrics(self.det_thresh)
        with Progress(self.n_expressions, label, unit="expressions") as bar:
            for done, case in enumerate(self.measure(grounder, word_len), start=1):
                metrics.update(case.det_iou, case.seg_iou, case.intersection, case.union)
                if on_measured is not None:
                    on_measured(case)
                bar.update(done)
        return metrics.result()

    def measure(
        self, grounder: Grounder, word_len: int, keep_masks: bool = False
    ) -> Iterator[Measurement]:
        """Yields a `Measurement` for each expression, image by image."""
        images = evaluation_images(
            self.groups,
            self.image_path,
            self.masks,
            grounder.input_size,
            self.workers,
            self.prefetch * self.batch_size,
        )
        text_features = TextFeatureCache(grounder, self.words, word_len)
        with ThreadPoolExecutor(self.workers) as pool:
            pending: deque[Future[list[Measurement]]] = deque()
            while batch := list(islice(images, self.batch_size)):
                for grounded in self._ground(grounder, batch, text_features):
                    pending.append(pool.submit(self._compare, grounded, keep_masks))
                # One batch stays in the threads while the network processes the next one.
                while len(pending) > len(batch):
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()

    def _ground(
        self, grounder: Grounder, batch: list[LoadedImage], text_features: "TextFeatureCache"
    ) -> Iterator[GroundedImage]:
        """Grounds all expressions of a batch of images."""
        image_features = grounder.encode_images(np.stack([image.pixels for image in batch]))
        expressions = [_expressions(image.group) for image in batch]
        counts = [len(texts) for texts in expressions]
        rows = np.repeat(np.arange(len(batch)), counts)  # of the image of each expression
        text = text_features.of([text for texts in expressions for text in texts])
        parts = [
            grounder.locate(
                image_features,
                rows[start : start + self.batch_size],
                [feature[start : start + self.batch_size] for feature in text],
            )
            for start in range(0, len(rows), self.batch_size)
        ]
        outputs = [np.concatenate(part) for part in zip(*parts, strict=True)]
        per_image = (np.split(output, np.cumsum(counts)[:-1]) for output in outputs)
        for image, *output in zip(batch, *per_image, strict=True):
            yield GroundedImage(image, *output)

    def _compare(self, grounded: GroundedImage, keep_masks: bool) -> list[Measurement]:
        """Compares the predictions for one image with the ground truth."""
        image, geometry = grounded.image, grounded.image.geometry
        maps = place_masks(
            grounded.probability, grounded.rounded_px, grounded.scores, geometry, self.use_nls
        )
        boxes = unletterbox_box(grounded.boxes_px, geometry)
        measurements: list[Measurement] = []
        for referent, true_mask, first in zip(
            image.group.referents, image.masks, image.group.first_expression, strict=True
        ):
            true_box_input = letterbox_box(referent.box_xyxy_px, geometry)
            for number, expression in enumerate(referent.expressions):
                k = len(measurements)
                mask, rounded = maps[..., k] > self.segment_thresh, grounded.rounded_px[k]
                seg_iou, intersection, union = mask_iou(mask, true_mask)
                measurements.append(
                    Measurement(
                        index=first + number,
                        image=referent.image,
                        expression=expression,
                        box_xyxy=tuple(boxes[k]),
                        box_xyxy_input=tuple(rounded),
                        score=float(grounded.scores[k]),
                        det_iou=float(detection_iou(rounded, true_box_input)),
                        seg_iou=float(seg_iou),
                        intersection=intersection,
                        union=union,
                        true_box_xyxy=referent.box_xyxy_px,
                        mask=mask if keep_masks else None,
                        true_mask=true_mask if keep_masks else None,
                    )
                )
        return measurements


class TextFeatureCache:
    """Encodes expressions, each once while it is among the latest `EXPRESSIONS_KEPT`.

    Args:
        grounder: the network.
        words: encodes expressions as its input.
        word_len: number of words that are read per expression.
    """

    def __init__(self, grounder: Grounder, words: Words, word_len: int) -> None:
        self.grounder, self.words, self.word_len = grounder, words, word_len
        # Word ids → one row of each text feature.
        self._rows: dict[bytes, tuple[np.ndarray, ...]] = {}

    def of(self, expressions: Sequence[str]) -> list[np.ndarray]:
        """Text features of M expressions, each (M, ...)."""
        ids = [self.words.encode(expression, self.word_len) for expression in expressions]
        keys = [row.tobytes() for row in ids]
        new = {key: row for key, row in zip(keys, ids, strict=True) if key not in self._rows}
        if new:
            words = self.words.lookup(np.stack(list(new.values())))
            encoded = [np.asarray(feature) for feature in self.grounder.encode_words(words)]
            self._rows.update(zip(new, zip(*encoded, strict=True), strict=True))
        rows = [self._rows[key] for key in keys]
        features = [np.stack(column) for column in zip(*rows, strict=True)]
        for key in list(self._rows)[:-EXPRESSIONS_KEPT]:
            del self._rows[key]
        return features


def build_evaluator(
    config: Config, words: Words | None = None, set_path: str | os.PathLike | None = None
) -> Evaluator:
    """Builds the `Evaluator` that a config describes.

    Args:
        config: the settings.
        words: encodes the expressions of the set; built if None.
        set_path: annotation file; config.evaluate_set if None.

    Raises:
        DataError, UserError, OSError: the annotations or word vectors cannot be read, or the masks
            are those of another preparation.
    """
    set_path = config.evaluate_set if set_path is None else set_path
    referents = read_annotations(set_path)
    check_pairing(set_path, config.seg_gt_path)
    if words is None:
        words = build_words(config, referents, cache_dir=Path(set_path).parent)
    return Evaluator(
        referents,
        words,
        config.image_path,
        config.seg_gt_path,
        batch_size=config.eval_batch_size,
        det_thresh=config.det_acc_thresh,
        segment_thresh=config.segment_thresh,
        use_nls=bool(config.use_nls),
        workers=config.workers,
        prefetch=config.max_queue_size,
    )


def _expressions(group: ImageGroup) -> list[str]:
    return [text for referent in group.referents for text in referent.expressions]
