"""The input pipeline: annotations, images and masks to batches.

A training sample is one referent with one of its expressions, in an order that seed and epoch
determine. Evaluation loads one image with all its referents at a time, so that each image and
each mask is read once, ahead of the network.
"""

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from data.loading.annotations import Referent, check_box_in_image
from data.loading.feature_store import FeatureStore
from data.loading.images import read_image
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image, letterbox_mask
from data.loading.masks import Masks, open_masks

T = TypeVar("T")


class Words(Protocol):
    """Encodes expressions: `data.text.vectors.WordTable` or `data.text.wordpiece.WordPieces`."""

    def encode(self, expression: str, word_len: int) -> np.ndarray:
        """Ids of an expression, int32 (word_len,)."""

    def lookup(self, ids: np.ndarray) -> np.ndarray:
        """The network's input for ids (..., word_len)."""


# tf.data passes on the text of an exception only. The exception itself waits here, under a token in
# that text, for whoever reads the dataset.
_raised: dict[str, Exception] = {}
_MAX_RAISED = 16  # Of several samples that fail in parallel, only the first is ever asked for.


@tf.autograph.experimental.do_not_convert
def python_function(
    function: Callable[..., Any], arguments: Sequence[tf.Tensor], dtypes: Sequence[tf.DType]
) -> list[tf.Tensor]:
    """Calls a Python function in a dataset; `unwrapped_errors` raises its exceptions again.

    Args:
        function: called with arrays; returns arrays of these dtypes.
        arguments: tensors.
        dtypes: of the results.
    """

    def call(*arrays):
        try:
            return function(*arrays)
        except Exception as error:
            token = f"raised-{uuid.uuid4().hex}"
            _raised[token] = error
            for old in list(_raised)[:-_MAX_RAISED]:
                _raised.pop(old, None)
            raise RuntimeError(token) from None

    return tf.numpy_function(call, arguments, dtypes, stateful=False)


@contextlib.contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Raises the exception of a `python_function` when a dataset is read inside the block.

    It is the same object, with its traceback. tf.data would wrap it in an error of its own.
    """
    try:
        yield
    except tf.errors.OpError as error:
        token = re.search(r"raised-[0-9a-f]{32}", error.message)
        original = _raised.pop(token.group(), None) if token else None
        if original is None:
            raise
        raise original from None


def unwrap_errors(batches: Iterable[T]) -> Iterator[T]:
    """Iterates over a dataset inside `unwrapped_errors`."""
    with unwrapped_errors():
        yield from batches


@dataclass(frozen=True)
class TrainingSet:
    """Everything that training batches are made of.

    Attributes:
        referents: referents of the training annotations.
        words: encodes their expressions.
        image_path: folder of the images.
        masks: of the data set.
        input_size: side of the letterboxed input in pixels.
        stride: stride of the mask target.
        word_len: number of words, or word pieces, that are read per expression.
        seed: determines the order and the choice of expressions.
        mask_target: "corner" or "area", see `data.loading.letterbox.letterbox_mask`.
        features: cached features that replace the images, or None.
    """

    referents: list[Referent]
    words: Words
    image_path: str
    mask_path: str
    input_size: int
    stride: int
    word_len: int
    seed: int
    mask_target: str = "corner"
    features: FeatureStore | None = None

    def __len__(self) -> int:
        return len(self.referents)

    def plan(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Order of the referents in an epoch, and the expression that is used for each.

        Returns:
            (order, choice), both (len,) int64: indices of referents, and for each of them, in
            this order, the index of one of its expressions.
        """
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.referents))
        counts = np.array([len(self.referents[i].expressions) for i in order])
        return order, rng.integers(0, counts)

    @cached_property
    def masks(self) -> Masks:
        """The masks of the data set, opened when they are first used."""
        return open_masks(self.mask_path)

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
        if self.features is None:
            image = read_image(Path(self.image_path) / referent.image)
            visual, size = [letterbox_image(image, self.input_size)], image.size
        else:
            visual, size = self.features.read(referent.image)
        return (*visual, *self._targets(referent, *size))

    def _targets(
        self, referent: Referent, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        check_box_in_image(referent, width, height)
        geometry = Letterbox.fit(width, height, self.input_size)
        box = letterbox_box(referent.box_xyxy_px, geometry).astype(np.float32)
        mask = self.masks.read(referent, width, height)
        return box, letterbox_mask(mask, geometry, self.stride, self.mask_target)

    def word_ids(self, order: Iterable[int], choice: Iterable[int]) -> np.ndarray:
        """Ids of the chosen expressions, int32 (len(order), word_len)."""
        rows = [
            self.words.encode(self.referents[i].expressions[k], self.word_len)
            for i, k in zip(order, choice, strict=True)
        ]
        return np.array(rows, np.int32).reshape(-1, self.word_len)


def training_batches(
    training_set: TrainingSet,
    epoch: int,
    batch_size: int,
    workers: int,
    prefetch: int,
    drop_remainder: bool = False,
    first_step: int = 0,
) -> tf.data.Dataset:
    """The batches of one epoch, or the rest of them.

    Args:
        training_set: what to load.
        epoch: determines the order and the choice of expressions.
        batch_size: samples per batch; the last batch may be smaller.
        workers: number of samples that are loaded in parallel.
        prefetch: number of batches that are prepared in advance.
        drop_remainder: whether to drop a smaller last batch.
        first_step: number of batches to leave out at the beginning. The others are those of the
            whole epoch, and nothing is loaded for the ones left out.

    Returns:
        Dataset of dicts: image (N, S, S, 3) uint8 or, with cached features, feature_0, feature_1,
        …; words (N, T, D) float32 or, for BERT, (N, T) int32; box_xyxy_px (N, 4) float32; mask
        (N, S/8, S/8, 1) float32; row (N,) int64, the index of the referent.
    """
    order, choice = training_set.plan(epoch)
    cells = training_set.input_size // training_set.stride
    spec = [
        *training_set.visual_spec(),
        ("box_xyxy_px", (4,), tf.float32),
        ("mask", (cells, cells, 1), tf.float32),
    ]
    look_up = training_set.words.lookup
    example = look_up(training_set.word_ids(order[:1], choice[:1]))

    def load(index, ids):
        types = [dtype for _, _, dtype in spec]
        parts = python_function(training_set.sample, [index], types)
        sample = {
            name: tf.ensure_shape(part, shape)
            for part, (name, shape, _) in zip(parts, spec, strict=True)
        }
        return {"ids": ids, "row": index, **sample}

    def with_words(batch):
        [words] = python_function(look_up, [batch.pop("ids")], [example.dtype])
        shape = (batch["mask"].shape[0], *example.shape[1:])
        return {"words": tf.ensure_shape(words, shape), **batch}

    order, choice = order[first_step * batch_size :], choice[first_step * batch_size :]
    rows = tf.data.Dataset.from_tensor_slices((order, training_set.word_ids(order, choice)))
    loaded = rows.map(load, num_parallel_calls=workers, deterministic=True)
    return (
        loaded.batch(batch_size, drop_remainder=drop_remainder).map(with_words).prefetch(prefetch)
    )


def _load_ahead(
    load: Callable[[int], Any], count: int, dtypes: Sequence[tf.DType], workers: int, prefetch: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields `load(index)`, arrays of these dtypes, for 0 … count − 1, loaded in parallel."""

    def load_in_graph(index):
        return python_function(load, [index], dtypes)

    dataset = tf.data.Dataset.range(count)
    dataset = dataset.map(load_in_graph, num_parallel_calls=workers, deterministic=True)
    return unwrap_errors(dataset.prefetch(prefetch).as_numpy_iterator())


def letterboxed_images(
    images: Sequence[str], image_path: str | os.PathLike, input_size: int, workers: int
) -> Iterator[tuple[str, np.ndarray, tuple[int, int]]]:
    """Reads and letterboxes images, in parallel and in advance.

    Args:
        images: file names.
        image_path: their folder.
        input_size: side S of the letterboxed images in pixels.
        workers: number of images that are read in parallel.

    Yields:
        (file name, (S, S, 3) uint8, (width, height)), in the order of `images`.

    Raises:
        DataError: an image cannot be read.
    """

    def load(index):
        image = read_image(Path(image_path) / images[index])
        return letterbox_image(image, input_size), np.array(image.size, np.int32)

    loaded = _load_ahead(load, len(images), (tf.uint8, tf.int32), workers, prefetch=2 * workers)
    for name, (pixels, size) in zip(images, loaded, strict=True):
        yield name, pixels, tuple(size.tolist())


@dataclass(frozen=True)
class ImageGroup:
    """One image of an evaluation set with its referents.

    Attributes:
        image: file name.
        referents: referents in the image, in the order of the set.
        first_expression: for each referent, the position of its first expression in the set.
    """

    image: str
    referents: tuple[Referent, ...]
    first_expression: tuple[int, ...]


@dataclass(frozen=True)
class LoadedImage:
    """The pixels of an `ImageGroup`.

    Attributes:
        group: the image and its referents.
        geometry: placement of the image in the network's input.
        pixels: (S, S, 3) uint8, letterboxed.
        masks: (R, h, w) uint8, 0 or 1, one per referent, at the size of the image.
    """

    group: ImageGroup
    geometry: Letterbox
    pixels: np.ndarray
    masks: np.ndarray


def group_by_image(referents: Iterable[Referent]) -> list[ImageGroup]:
    """Groups referents by image, in the order of the first referent of each image."""
    members: dict[str, list[tuple[Referent, int]]] = {}
    position = 0
    for referent in referents:
        members.setdefault(referent.image, []).append((referent, position))
        position += len(referent.expressions)
    return [
        ImageGroup(image, tuple(r for r, _ in rows), tuple(p for _, p in rows))
        for image, rows in members.items()
    ]


def evaluation_images(
    groups: Sequence[ImageGroup],
    image_path: str | os.PathLike,
    masks: Masks,
    input_size: int,
    workers: int,
    prefetch: int,
) -> Iterator[LoadedImage]:
    """Loads the images and masks of an evaluation set, in parallel and in advance.

    Args:
        groups: the images, from `group_by_image`.
        image_path: folder of the images.
        masks: of the data set.
        input_size: side of the letterboxed input in pixels.
        workers: number of images that are loaded in parallel.
        prefetch: number of images that are loaded in advance.

    Yields:
        `LoadedImage`, in the order of `groups`.

    Raises:
        DataError: an image or mask cannot be used, or a box lies outside its image.
    """

    def load(index):
        group = groups[index]
        image = read_image(Path(image_path) / group.image)
        for referent in group.referents:
            check_box_in_image(referent, *image.size)
        true_masks = [masks.read(referent, *image.size) for referent in group.referents]
        return letterbox_image(image, input_size), np.stack(true_masks)

    loaded = _load_ahead(load, len(groups), (tf.uint8, tf.uint8), workers, prefetch)
    for group, (pixels, true_masks) in zip(groups, loaded, strict=True):
        height, width = true_masks.shape[1:]
        yield LoadedImage(group, Letterbox.fit(width, height, input_size), pixels, true_masks)
