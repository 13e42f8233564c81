"""Evaluation of a network on a set, section 4.2 of the paper.

Each image is encoded once, then all its expressions are grounded. Metrics are summed as results
arrive; masks are resized and compared in threads while the network processes the next images.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from config.schema import Config
from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.image_groups import ImageGroup, LoadedImage, evaluation_images, group_by_image
from data.loading.masks import Masks
from data.loading.pipeline import Words
from data.preparation.manifest import open_sets
from data.support.progress import Progress
from data.support.threads import thread_pool
from utils.evaluation.grounded_images import GroundedImage, measure_image
from utils.evaluation.metrics import Metrics, Result
from utils.evaluation.results.measurement import Measurement
from utils.evaluation.text_features import TextFeatureCache, in_batches
from utils.prediction.expressions import build_words
from utils.prediction.grounder import Grounder


@dataclass(eq=False)
class Evaluator:
    """Evaluates networks on a set.

    Attributes:
        referents: referents of the set.
        words: encodes their expressions, see `utils.prediction.expressions.build_words`.
        image_path: folder of the images.
        masks: their masks, of the same preparation, see `data.preparation.manifest.open_sets`.
        batch_size: images that are encoded, and expressions that are grounded, at once.
        det_thresh, segment_thresh, use_nls: config keys det_acc_thresh, segment_thresh, use_nls.
        workers: images that are loaded, and whose masks are compared, in parallel.
        prefetch: batches of images that are loaded in advance.
        on_bad_sample: "error", or "skip" to leave out the expressions of images of which a file
            cannot be used.
        encode_masks: whether measurements contain the run lengths of the predicted masks.
        groups: the images of the set with their referents.
        bad_images: the images that the last evaluation left out, with the reasons.
    """

    referents: Sequence[Referent]
    words: Words
    image_path: str | os.PathLike
    masks: Masks
    _: KW_ONLY
    batch_size: int = 8
    det_thresh: float = 0.5
    segment_thresh: float = 0.35
    use_nls: bool = True
    workers: int = 8
    prefetch: int = 2
    on_bad_sample: str = "error"
    encode_masks: bool = False
    groups: list[ImageGroup] = field(init=False)
    bad_images: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = group_by_image(self.referents)

    @property
    def n_expressions(self) -> int:
        """Number of expressions of the set."""
        return sum(len(referent.expressions) for referent in self.referents)

    def skipped(self) -> list[dict[str, Any]]:
        """The images that the last evaluation left out: image, number of expressions, reason."""
        return [
            {"image": group.image, "expressions": len(_expressions(group)), "reason": reason}
            for group in self.groups
            if (reason := self.bad_images.get(group.image))
        ]

    def part(self, index: int, count: int) -> "Evaluator":
        """Returns an evaluator of every `count`-th image, from number `index` on."""
        if count == 1:
            return self
        groups = self.groups[index::count]
        return replace(self, referents=[r for group in groups for r in group.referents])

    def positions(self, index: int, count: int) -> list[int]:
        """The positions in this set of the expressions of `part(index, count)`, in their order."""
        if count == 1:
            return list(range(self.n_expressions))
        return [
            position
            for group in self.groups[index::count]
            for referent, first in zip(group.referents, group.first_expression, strict=True)
            for position in range(first, first + len(referent.expressions))
        ]

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
            dict of `Metrics.result`. Expressions of `bad_images` are not part of it.

        Raises:
            DataError: an image or mask cannot be used; with on_bad_sample="skip", none can.
            NotFiniteError: the network computes NaN or infinite values.
        """
        metrics = self.collect(grounder, word_len, label, on_measured)
        self.check_any_usable()
        return metrics.result()

    def collect(
        self,
        grounder: Grounder,
        word_len: int,
        label: str = "evaluate",
        on_measured: Callable[[Measurement], object] | None = None,
        shown: bool = True,
        lasting: bool = True,
    ) -> Metrics:
        """Evaluates a network on the whole set, and returns the sums of all metrics.

        Args:
            grounder, word_len, label, on_measured: of `evaluate`.
            shown: whether to show the progress.
            lasting: whether a terminal keeps the bar, see `data.support.progress.Progress`.

        Raises:
            DataError: an image or mask cannot be used, and on_bad_sample is "error".
            NotFiniteError: the network computes NaN or infinite values.
        """
        metrics = Metrics(self.det_thresh)
        count = self.n_expressions
        with Progress(count, label, "expressions", shown=shown, lasting=lasting) as bar:
            for done, case in enumerate(self.measure(grounder, word_len), start=1):
                metrics.update(case.det_iou, case.seg_iou, case.intersection, case.union)
                if on_measured is not None:
                    on_measured(case)
                bar.update(done)
        return metrics

    def check_any_usable(self) -> None:
        """Raises DataError if the last evaluation has left out every image."""
        if self.groups and len(self.bad_images) == len(self.groups):
            *_, reason = self.bad_images.values()
            raise DataError(f"no image of the set can be used, the last because of {reason}")

    def measure(
        self, grounder: Grounder, word_len: int, keep_masks: bool = False
    ) -> Iterator[Measurement]:
        """Yields a `Measurement` for each expression, image by image."""
        self.bad_images.clear()
        images = evaluation_images(
            self.groups,
            self.image_path,
            grounder.input_size,
            self.workers,
            self.prefetch * self.batch_size,
            self.bad_images if self.on_bad_sample == "skip" else None,
        )
        text_features = TextFeatureCache(grounder, self.words, word_len, self.batch_size)
        with thread_pool(self.workers) as pool:
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
        names = [image.group.image for image in batch]
        outputs = in_batches(
            lambda rows, *text: grounder.locate(image_features, rows, text, names),
            [rows, *text],
            self.batch_size,
            fill=grounder.jit_compile,
        )
        per_image = (np.split(output, np.cumsum(counts)[:-1]) for output in outputs)
        for image, *output in zip(batch, *per_image, strict=True):
            yield GroundedImage(image, *output)

    def _compare(self, grounded: GroundedImage, keep_masks: bool) -> list[Measurement]:
        """Compares the predictions for one image with the ground truth."""
        how = (self.segment_thresh, self.use_nls, keep_masks, self.encode_masks)
        try:
            return list(measure_image(grounded, self.masks, *how))
        except DataError as error:
            if self.on_bad_sample != "skip":
                raise
            self.bad_images[grounded.image.group.image] = str(error)
            return []


def build_evaluator(config: Config, set_path: str | os.PathLike | None = None) -> Evaluator:
    """Builds the `Evaluator` that a config describes.

    Args:
        config: the settings.
        set_path: annotation file; config.evaluate_set if None.

    Raises:
        DataError, UserError, OSError: the annotations, masks or word vectors cannot be read, or the
            masks are those of another preparation.
    """
    set_path = config.evaluate_set if set_path is None else set_path
    [referents], masks = open_sets([set_path], config.seg_gt_path)
    words = build_words(config, referents, cache_dir=Path(set_path).parent)
    return evaluator_of(config, referents, words, masks)


def evaluator_of(
    config: Config, referents: Sequence[Referent], words: Words, masks: Masks
) -> Evaluator:
    """The `Evaluator` of a set that is loaded, with the settings of a config."""
    return Evaluator(
        referents,
        words,
        config.image_path,
        masks,
        batch_size=config.eval_batch_size,
        det_thresh=config.det_acc_thresh,
        segment_thresh=config.segment_thresh,
        use_nls=bool(config.use_nls),
        workers=config.workers,
        prefetch=config.max_queue_size,
        on_bad_sample=config.on_bad_sample,
    )


def _expressions(group: ImageGroup) -> list[str]:
    return [text for referent in group.referents for text in referent.expressions]
