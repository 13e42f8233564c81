"""Evaluation of a network on a set, section 4.2 of the paper.

Every image is encoded once, then all its expressions are grounded. Measures are added up as they
come; masks are placed and compared in threads while the network works on the next images.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from data.loading.annotations import read_annotations
from data.loading.letterbox import letterbox_box, unletterbox_box
from data.loading.pipeline import evaluation_images, group_by_image
from data.support.progress import Progress
from utils.evaluation.metrics import Metrics, detection_iou, mask_iou
from utils.prediction.expressions import build_words
from utils.prediction.masks import place_masks

EXPRESSIONS_KEPT = 4096


@dataclass(frozen=True)
class Measured:
    """What was found for one expression.

    Attributes:
        index: place of the expression in the set.
        image, expression: file name and words.
        box_xyxy: (4,) float, original pixels; box_xyxy_input: (4,) int, rounded, in the
            letterboxed input.
        score: confidence of the box in 0..1.
        det_iou, seg_iou: overlaps with the truth; intersection, union: of the masks, in pixels.
        true_box_xyxy: (4,) int, original pixels.
        mask, true_mask: (h, w) at the size of the image, where they were asked for.
    """

    index: int
    image: str
    expression: str
    box_xyxy: tuple
    box_xyxy_input: tuple
    score: float
    det_iou: float
    seg_iou: float
    intersection: int
    union: int
    true_box_xyxy: tuple
    mask: np.ndarray | None = None
    true_mask: np.ndarray | None = None

    def to_json(self):
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


class Evaluator:
    """A set, opened as often as it is evaluated.

    Args:
        referents: `data.loading.annotations.Referent`s of the set.
        words: of `utils.prediction.expressions.build_words`.
        image_path, mask_path: folders.
        batch_size: images encoded, and expressions grounded, at once.
        det_thresh, segment_thresh, use_nls: as the config keys of these names.
        workers: images opened, and masks compared, in parallel.
        prefetch: batches of images held ready.
    """

    def __init__(
        self,
        referents,
        words,
        image_path,
        mask_path,
        *,
        batch_size=8,
        det_thresh=0.5,
        segment_thresh=0.35,
        use_nls=True,
        workers=8,
        prefetch=2,
    ):
        self.referents, self.words = referents, words
        self.image_path, self.mask_path = image_path, mask_path
        self.batch_size, self.workers, self.prefetch = batch_size, workers, prefetch
        self.det_thresh, self.segment_thresh = det_thresh, segment_thresh
        self.use_nls = bool(use_nls)
        self.groups = group_by_image(referents)
        self.n_expressions = sum(len(referent.expressions) for referent in referents)

    def restricted(self, indices):
        """An evaluator of some expressions of the set, given by their places in it, in order."""
        places = [
            (referent, expression)
            for referent in self.referents
            for expression in referent.expressions
        ]
        chosen = [places[index] for index in indices]
        return Evaluator(
            [replace(referent, expressions=(expression,)) for referent, expression in chosen],
            self.words,
            self.image_path,
            self.mask_path,
            batch_size=self.batch_size,
            det_thresh=self.det_thresh,
            segment_thresh=self.segment_thresh,
            use_nls=self.use_nls,
            workers=self.workers,
            prefetch=self.prefetch,
        )

    def evaluate(self, grounder, word_len, label="evaluate", on_measured=None):
        """Measures a network on the set.

        Args:
            grounder: `utils.prediction.grounder.Grounder`.
            word_len: words of an expression that are read.
            label: what the progress bar says.
            on_measured: called with each `Measured`, in the order of images, not of the set.

        Returns:
            dict of `Metrics.result`.
        """
        metrics = Metrics(self.det_thresh)
        with Progress(self.n_expressions, label, unit="expressions") as bar:
            for done, measured in enumerate(self.measure(grounder, word_len), start=1):
                metrics.update(
                    measured.det_iou, measured.seg_iou, measured.intersection, measured.union
                )
                if on_measured is not None:
                    on_measured(measured)
                bar.update(done)
        return metrics.result()

    def measure(self, grounder, word_len, keep_masks=False):
        """Yields a `Measured` for every expression, image by image."""
        images = evaluation_images(
            self.groups,
            self.image_path,
            self.mask_path,
            grounder.input_size,
            self.workers,
            self.prefetch * self.batch_size,
        )
        text = _TextFeatures(grounder, self.words, word_len)
        with ThreadPoolExecutor(self.workers) as pool:
            waiting = deque()
            while batch := list(islice(images, self.batch_size)):
                for image, *found in self._locate(grounder, batch, text):
                    waiting.append(pool.submit(self._compare, image, *found, keep_masks))
                # A batch stays in the threads while the network works on the next one.
                while len(waiting) > len(batch):
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def _locate(self, grounder, batch, text):
        """Per image of a batch: (image, boxes, rounded boxes, scores, probabilities)."""
        features = grounder.encode_images(np.stack([image.pixels for image in batch]))
        expressions = [_expressions(image.group) for image in batch]
        text_features = text.of([expression for texts in expressions for expression in texts])
        counts = [len(texts) for texts in expressions]
        rows = np.repeat(np.arange(len(batch)), counts)
        parts = [
            grounder.locate(
                features,
                rows[at : at + self.batch_size],
                [feature[at : at + self.batch_size] for feature in text_features],
            )
            for at in range(0, len(rows), self.batch_size)
        ]
        found = [np.concatenate(part) for part in zip(*parts, strict=True)]
        edges = np.cumsum(counts)[:-1]
        return zip(batch, *(np.split(part, edges) for part in found), strict=True)

    def _compare(self, image, boxes, rounded, scores, probability, keep_masks):
        """The `Measured`s of all expressions of one image."""
        maps = place_masks(probability, rounded, scores, image.geometry, self.use_nls)
        original = unletterbox_box(boxes, image.geometry)
        measured, k = [], 0
        for referent, mask, first in zip(
            image.group.referents, image.masks, image.group.first_expression, strict=True
        ):
            true_box = letterbox_box(referent.box_xyxy_px, image.geometry)
            for number, expression in enumerate(referent.expressions):
                found = maps[..., k] > self.segment_thresh
                seg_iou, intersection, union = mask_iou(found, mask)
                measured.append(
                    Measured(
                        index=first + number,
                        image=referent.image,
                        expression=expression,
                        box_xyxy=tuple(original[k]),
                        box_xyxy_input=tuple(rounded[k]),
                        score=float(scores[k]),
                        det_iou=float(detection_iou(rounded[k], true_box)),
                        seg_iou=float(seg_iou),
                        intersection=intersection,
                        union=union,
                        true_box_xyxy=referent.box_xyxy_px,
                        mask=found if keep_masks else None,
                        true_mask=mask if keep_masks else None,
                    )
                )
                k += 1
        return measured


def build_evaluator(config, words=None, set_path=None):
    """The `Evaluator` that a config describes.

    Args:
        config: `config.schema.Config`.
        words: of `utils.prediction.expressions.build_words`, covering the set; default: made
            for it.
        set_path: annotations, default config.evaluate_set.
    """
    set_path = set_path or config.evaluate_set
    referents = read_annotations(set_path)
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
        use_nls=config.use_nls,
        workers=config.workers,
        prefetch=config.max_queue_size,
    )


class _TextFeatures:
    """Text features, each computed once while it is among the latest `EXPRESSIONS_KEPT`."""

    def __init__(self, grounder, words, word_len):
        self.grounder, self.words, self.word_len = grounder, words, word_len
        self._kept = {}

    def of(self, expressions):
        """list of M str → list of text features, each (M, ...)."""
        ids = [self.words.encode(expression, self.word_len) for expression in expressions]
        keys = [row.tobytes() for row in ids]
        new = {key: row for key, row in zip(keys, ids, strict=True) if key not in self._kept}
        if new:
            vectors = self.words.lookup(np.stack(list(new.values())))
            encoded = [np.asarray(feature) for feature in self.grounder.encode_words(vectors)]
            self._kept.update(zip(new, zip(*encoded, strict=True), strict=True))
        rows = [self._kept[key] for key in keys]
        features = [np.stack(column) for column in zip(*rows, strict=True)]
        for key in list(self._kept)[:-EXPRESSIONS_KEPT]:
            del self._kept[key]
        return features


def _expressions(group):
    return [text for referent in group.referents for text in referent.expressions]
