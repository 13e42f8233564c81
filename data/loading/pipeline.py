"""The input pipeline of training: annotations, images and masks to batches.

A training sample is one referent with one of its expressions, in an order that seed and epoch
determine; `data.loading.augmentation` varies it on request.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf
from PIL import Image

from data.loading.annotations import Referent, check_box_in_image
from data.loading.augmentation.recipe import Augmentation, Variation, Variations
from data.loading.errors import DataError
from data.loading.feature_store import FeatureStore
from data.loading.images import read_image
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image, letterbox_mask
from data.loading.masks import Masks
from data.support.datasets import load_ahead, python_function


class Words(Protocol):
    """Encodes expressions: `data.text.vectors.WordTable` or `data.text.wordpiece.WordPieces`."""

    def encode(self, expression: str, word_len: int) -> np.ndarray:
        """Ids of an expression, int32 (word_len,)."""

    def lookup(self, ids: np.ndarray) -> np.ndarray:
        """The network's input for ids (..., word_len)."""


@dataclass(frozen=True)
class TrainingSet:
    """Everything that training batches are made of.

    Attributes:
        referents: referents of the training annotations.
        words: encodes their expressions.
        image_path: folder of the images.
        masks: their masks, of the same preparation, see `data.preparation.manifest.open_sets`.
        input_size: side of the letterboxed input in pixels.
        stride: stride of the mask target.
        word_len: number of words, or word pieces, that are read per expression.
        seed: determines the order and the choice of expressions.
        mask_target: "corner" or "area", see `data.loading.letterbox.letterbox_mask`.
        features: cached features that replace the images, or None.
        on_bad_sample: "error", or "skip" to replace samples whose files cannot be used.
        augmentation: how samples are varied; cached features cannot be.
        shares: number of referents and weight of each of several sets, which follow one another in
            `referents`. An epoch contains a set as often as its weight says: with 0.5, another
            half of it each time. Empty: each referent once.
        bad_samples: filled while samples are skipped: image, or mask and image → reason.
    """

    referents: list[Referent]
    words: Words
    image_path: str
    masks: Masks
    input_size: int
    stride: int
    word_len: int
    seed: int
    mask_target: str = "corner"
    features: FeatureStore | None = None
    on_bad_sample: str = "error"
    augmentation: Augmentation = Augmentation()
    shares: Sequence[tuple[int, float]] = ()
    bad_samples: dict[str, str] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        """Number of samples of an epoch, before it is divided into batches."""
        if not self.shares:
            return len(self.referents)
        return sum(_times(*share) for share in self.shares)

    def plan(self, epoch: int, samples: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Order of the referents in an epoch, and the expression that is used for each.

        Args:
            epoch: determines both.
            samples: their number, by default `len(self)`. After the last referent of the order, it
                starts again with the first, with expressions of their own.

        Returns:
            (order, choice), both (samples,) int64: indices of referents, and for each of them, in
            this order, the index of one of its expressions.
        """
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self._drawn(rng) if self.shares else len(self.referents))
        order = np.resize(order, len(order) if samples is None else samples)
        counts = np.array([len(self.referents[i].expressions) for i in order])
        return order, rng.integers(0, counts)

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Indices of the referents of an epoch, int64 (len(self),), set by set."""
        first, drawn = 0, []
        for count, weight in self.shares:
            of_set = np.arange(first, first + count)
            whole, rest = divmod(_times(count, weight), count)
            drawn += [np.tile(of_set, whole), rng.choice(of_set, rest, replace=False)]
            first += count
        return np.concatenate(drawn)

    @property
    def images(self) -> list[str]:
        """File names of the images, each once, in the order of their first referent."""
        return list(dict.fromkeys(referent.image for referent in self.referents))

    def visual_spec(self) -> list[tuple[str, tuple[int, ...], tf.DType]]:
        """Name, shape and dtype of the visual parts of a sample: the image, or its features."""
        if self.features is None:
            return [("image", (self.input_size, self.input_size, 3), tf.uint8)]
        return [
            (f"feature_{number}", shape, tf.as_dtype(self.features.dtype))
            for number, shape in enumerate(self.features.shapes)
        ]

    def sample(self, index: int) -> tuple[np.ndarray, ...]:
        """Loads one referent.

        Returns:
            The parts of `visual_spec`, the box (4,) float32, xyxy in input pixels, and the mask
            (S/stride, S/stride, 1) float32.

        Raises:
            DataError: the image or mask cannot be used, or the box lies outside the image.
        """
        referent = self.referents[index]
        return self._parts(referent, self._visual(referent))

    def variations(self, epoch: int, order: np.ndarray, choice: np.ndarray) -> Variations | None:
        """The variations of the samples of a plan; None if nothing is varied."""
        return self.augmentation.variations(epoch, self._expressions(order, choice))

    def sample_at(
        self, order: np.ndarray, position: int, variations: Variations | None = None
    ) -> tuple[int, tuple[np.ndarray, ...]]:
        """Loads the referent at a position of an epoch's plan.

        With on_bad_sample="skip", a sample that cannot be used is replaced by the next one of the
        plan, after the last by the first, so that every step keeps its place and size.

        Args:
            order: of `plan`.
            position: index into it.
            variations: of the samples of the plan.

        Returns:
            The position of the sample that was loaded, and its parts as from `sample`.

        Raises:
            DataError: as `sample`; or no sample of the set can be used.
        """
        for used in (*range(position, len(order)), *range(position)):
            referent = self.referents[order[used]]
            bad = referent.image
            try:
                visual = self._visual(referent)
                bad = f"mask-id {referent.mask_id} on {referent.image}"
                variation = None if variations is None else variations[used]
                return used, self._parts(referent, visual, variation)
            except DataError as error:
                if self.on_bad_sample != "skip":
                    raise
                self.bad_samples[bad] = str(error)
        raise DataError(
            f"none of the {len(set(order)):,} samples can be used, the last because of "
            f"{self.bad_samples[bad]}"
        )

    def _visual(self, referent: Referent) -> tuple[Image.Image | list[np.ndarray], tuple[int, int]]:
        """The image or its cached features, and width and height of the image."""
        if reason := self.bad_samples.get(referent.image):
            raise DataError(reason)
        if self.features is not None:
            return self.features.read(referent.image)
        image = read_image(Path(self.image_path) / referent.image)
        return image, image.size

    def _parts(
        self,
        referent: Referent,
        visual: tuple[Image.Image | list[np.ndarray], tuple[int, int]],
        variation: Variation | None = None,
    ) -> tuple[np.ndarray, ...]:
        """The parts of `sample`, from what `_visual` returns."""
        image, (width, height) = visual
        check_box_in_image(referent, width, height)
        box, mask = referent.box_xyxy_px, self.masks.read(referent, width, height)
        if not isinstance(image, list):
            if variation is not None:
                image, box, mask = variation.apply(image, box, mask)
                width, height = image.size
            image = [letterbox_image(image, self.input_size)]
        geometry = Letterbox.fit(width, height, self.input_size)
        box_input = letterbox_box(box, geometry).astype(np.float32)
        return *image, box_input, letterbox_mask(mask, geometry, self.stride, self.mask_target)

    def word_ids(self, order: Iterable[int], choice: Iterable[int]) -> np.ndarray:
        """Ids of the chosen expressions, int32 (len(order), word_len)."""
        return self.encoded(self._expressions(order, choice))

    def encoded(self, expressions: Iterable[str]) -> np.ndarray:
        """Ids of expressions, int32 (n, word_len)."""
        rows = [self.words.encode(expression, self.word_len) for expression in expressions]
        return np.array(rows, np.int32).reshape(-1, self.word_len)

    def _expressions(self, order: Iterable[int], choice: Iterable[int]) -> list[str]:
        return [self.referents[i].expressions[k] for i, k in zip(order, choice, strict=True)]


@dataclass(frozen=True)
class Share:
    """The part of each batch that some of the replicas of a training compute.

    Attributes:
        first: the first of these replicas.
        count: their number.
        of: number of all replicas.
    """

    first: int = 0
    count: int = 1
    of: int = 1

    def rows(self, batch_size: int) -> range:
        """The rows of a batch of this size that they compute, about as many each."""
        last = self.first + self.count
        return range(batch_size * self.first // self.of, batch_size * last // self.of)

    def each(self) -> list["Share"]:
        """The share of each of these replicas."""
        return [
            Share(replica, 1, self.of) for replica in range(self.first, self.first + self.count)
        ]


def _times(count: int, weight: float) -> int:
    """How many samples of an epoch are of a set of `count` referents."""
    return max(round(count * weight), 1)


def samples_per_epoch(available: int, batch_size: int, last_batch: str) -> int:
    """Number of samples in the batches of an epoch.

    Args:
        available: samples of the training set.
        batch_size: samples per batch.
        last_batch: what happens to an incomplete last batch: "wrap" fills it with the first samples
            of the epoch, "short" leaves it smaller, "drop" leaves it out.
    """
    missing = -available % batch_size
    if last_batch == "short" or not missing:
        return available
    return available + missing - (batch_size if last_batch == "drop" else 0)


def training_batches(
    training_set: TrainingSet,
    epoch: int,
    batch_size: int,
    workers: int,
    prefetch: int,
    last_batch: str = "wrap",
    first_step: int = 0,
    share: Share = Share(),
) -> tf.data.Dataset:
    """The batches of one epoch, or the rest of them.

    Args:
        training_set: what to load.
        epoch: determines the order and the choice of expressions.
        batch_size: samples per batch.
        workers: number of samples that are loaded in parallel.
        prefetch: number of batches that are prepared in advance.
        last_batch: "wrap", "short" or "drop", see `samples_per_epoch`.
        first_step: number of batches to leave out at the beginning. The others are those of the
            whole epoch, and nothing is loaded for the ones left out.
        share: the part of each batch to load.

    Returns:
        Dataset of dicts: image (N, S, S, 3) uint8 or, with cached features, feature_0, feature_1,
        …; words (N, T, D) float32 or, for BERT, (N, T) int32; box_xyxy_px (N, 4) float32; mask
        (N, S/8, S/8, 1) float32; row (N,) int64, the index of the referent.
    """
    samples = samples_per_epoch(len(training_set), batch_size, last_batch)
    order, choice = training_set.plan(epoch, samples)
    cells = training_set.input_size // training_set.stride
    spec = [
        ("ids", (training_set.word_len,), tf.int32),
        ("row", (), tf.int64),
        *training_set.visual_spec(),
        ("box_xyxy_px", (4,), tf.float32),
        ("mask", (cells, cells, 1), tf.float32),
    ]
    variations = training_set.variations(epoch, order, choice)
    ids = (
        training_set.word_ids(order, choice)
        if variations is None
        else training_set.encoded(variations.expressions)
    )
    look_up = training_set.words.lookup
    example = look_up(ids[:1])

    def load(position):
        used, parts = training_set.sample_at(order, int(position), variations)
        return (ids[used], order[used], *parts)

    def load_in_graph(position):
        types = [dtype for _, _, dtype in spec]
        parts = python_function(load, [position], types)
        return {
            name: tf.ensure_shape(part, shape)
            for part, (name, shape, _) in zip(parts, spec, strict=True)
        }

    def with_words(batch):
        [words] = python_function(look_up, [batch.pop("ids")], [example.dtype])
        shape = (batch["mask"].shape[0], *example.shape[1:])
        return {"words": tf.ensure_shape(words, shape), **batch}

    starts = range(first_step * batch_size, samples, batch_size)
    positions = [
        start + row for start in starts for row in share.rows(min(batch_size, samples - start))
    ]
    loaded = tf.data.Dataset.from_tensor_slices(np.array(positions, np.int64)).map(
        load_in_graph, num_parallel_calls=workers, deterministic=True
    )
    # Where all batches are complete, their shape is fixed. There is no remainder to drop then.
    rows = len(share.rows(batch_size))
    batches = loaded.batch(rows, drop_remainder=samples % batch_size == 0)
    return batches.map(with_words).prefetch(prefetch)


def letterboxed_images(
    images: Sequence[str],
    image_path: str | os.PathLike,
    input_size: int,
    workers: int,
    bad_images: dict[str, str] | None = None,
) -> Iterator[tuple[str, np.ndarray, tuple[int, int]]]:
    """Reads and letterboxes images, in parallel and in advance.

    Args:
        images: file names.
        image_path: their folder.
        input_size: side S of the letterboxed images in pixels.
        workers: number of images that are read in parallel.
        bad_images: if given, images that cannot be read are added to it with the reason, and
            replaced by black ones.

    Yields:
        (file name, (S, S, 3) uint8, (width, height)), in the order of `images`.

    Raises:
        DataError: an image cannot be read, and there is no `bad_images`.
    """

    def load(index):
        try:
            image = read_image(Path(image_path) / images[index])
        except DataError as error:
            if bad_images is None:
                raise
            bad_images[images[index]] = str(error)
            image = Image.new("RGB", (1, 1))
        return letterbox_image(image, input_size), np.array(image.size, np.int32)

    loaded = load_ahead(load, len(images), (tf.uint8, tf.int32), workers, prefetch=2 * workers)
    for name, (pixels, size) in zip(images, loaded, strict=True):
        yield name, pixels, tuple(size.tolist())
