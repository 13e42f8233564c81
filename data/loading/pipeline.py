"""The input pipeline: prepared annotations, images and masks to batches.

Training reads one referent with one of its expressions a sample, in an order that follows from
seed and epoch. Evaluation reads one image with all its referents at a time: each image and each
mask is opened once, ahead of the network.
"""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from data.loading.annotations import Referent, check_box_in_image
from data.loading.images import DataError, load_mask, opened_image
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image, letterbox_mask


@contextlib.contextmanager
def cleared():
    """Turns errors of loading functions into `DataError` where a dataset is read inside.

    tf.data wraps what was raised inside it in an error of its own, traceback and all.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raised = re.search(r"^[\w.]*(?:DataError|ValueError): (.*)", error.message, re.MULTILINE)
        if raised is None:
            raise
        raise DataError(raised.group(1)) from None


def clear_errors(batches):
    """Iterates over a dataset; an error of the loading functions comes out as `DataError`."""
    with cleared():
        yield from batches


def read_image(path):
    """Opens an image.

    Returns:
        PIL.Image in RGB, decoded.

    Raises:
        DataError: the file is missing, no image, or far too large.
    """
    try:
        with opened_image(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; does image_path name its folder?") from None


def read_mask(folder, referent, width, height):
    """The true mask of a referent.

    Returns:
        (height, width) uint8, 0 or 1.

    Raises:
        DataError: the file is missing, unreadable, or has another size than the image.
    """
    path = Path(folder) / f"{referent.mask_id}.npy"
    try:
        mask = load_mask(path)
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such mask; does seg_gt_path name its folder, and was data_process.py "
            "run with --generate_mask?"
        ) from None
    if mask.shape != (height, width):
        raise DataError(
            f"{path}: a mask of {mask.shape[1]}×{mask.shape[0]} pixels, its image {referent.image} "
            f"has {width}×{height}"
        )
    return mask


@dataclass(frozen=True)
class TrainingSet:
    """Everything that training batches are made of.

    Attributes:
        referents: of the training annotations.
        words: `data.text.vectors.WordTable` of their vocabulary, or
            `data.text.wordpiece.WordPieces`.
        image_path, mask_path: folders.
        input_size: side of the letterboxed input in pixels.
        stride: stride of the mask target.
        word_len: words of an expression that are read.
        seed: decides order and choice of expressions.
        mask_target: "corner" or "area", see `data.loading.letterbox.letterbox_mask`.
        features: `data.loading.feature_store.FeatureStore` that stands for the images, or None.
    """

    referents: list[Referent]
    words: object
    image_path: str
    mask_path: str
    input_size: int
    stride: int
    word_len: int
    seed: int
    mask_target: str = "corner"
    features: object = None

    def __len__(self):
        return len(self.referents)

    def plan(self, epoch):
        """Order of the referents and index of the expression that each shows in an epoch.

        Returns:
            (order, choice), int64 (len,) each; `choice` is in the order of `order`.
        """
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.referents))
        counts = np.array([len(self.referents[i].expressions) for i in order])
        return order, rng.integers(0, counts)

    @property
    def images(self):
        """File names of the images, each once, in the order in which they first appear."""
        return list(dict.fromkeys(referent.image for referent in self.referents))

    def visual_spec(self):
        """Name, shape and dtype of what `sample` gives of the image."""
        if self.features is None:
            return [("image", (self.input_size, self.input_size, 3), tf.uint8)]
        return [
            (f"feature_{number}", shape, tf.as_dtype(self.features.dtype))
            for number, shape in enumerate(self.features.shapes)
        ]

    def sample(self, index):
        """What `visual_spec` says, box (4,) float32 xyxy in input pixels, mask (S/8, S/8, 1)."""
        referent = self.referents[index]
        if self.features is None:
            image = read_image(Path(self.image_path) / referent.image)
            visual, size = [letterbox_image(image, self.input_size)], image.size
        else:
            visual, size = self.features.read(referent.image)
        return (*visual, *self._targets(referent, *size))

    def _targets(self, referent, width, height):
        check_box_in_image(referent, width, height)
        geometry = Letterbox.fit(width, height, self.input_size)
        box = letterbox_box(referent.box_xyxy_px, geometry).astype(np.float32)
        mask = read_mask(self.mask_path, referent, width, height)
        return box, letterbox_mask(mask, geometry, self.stride, self.mask_target)

    def word_ids(self, order, choice):
        """Ids of the chosen expressions: int32 (len(order), word_len)."""
        return np.stack(
            [
                self.words.encode(self.referents[i].expressions[k], self.word_len)
                for i, k in zip(order, choice, strict=True)
            ]
        )


def training_batches(training_set, epoch, batch_size, workers, prefetch, drop_remainder=False):
    """The batches of one epoch, as a tf.data.Dataset.

    Args:
        training_set: `TrainingSet`.
        epoch: decides order and expressions.
        batch_size: samples a batch; the last may be shorter.
        workers: samples decoded in parallel.
        prefetch: batches prepared ahead.
        drop_remainder: leave out a last batch that is shorter.

    Returns:
        Dataset of dicts: image (N, S, S, 3) uint8 or, where features are cached, feature_0,
        feature_1, …; words (N, T, D) float32 or, for BERT, (N, T) int32; box_xyxy_px (N, 4)
        float32, mask (N, S/8, S/8, 1) float32.
    """
    order, choice = training_set.plan(epoch)
    cells = training_set.input_size // training_set.stride
    spec = [
        *training_set.visual_spec(),
        ("box_xyxy_px", (4,), tf.float32),
        ("mask", (cells, cells, 1), tf.float32),
    ]
    look_up = training_set.words.lookup
    looked_up = look_up(training_set.word_ids(order[:1], choice[:1]))

    def load(index, ids):
        types = [dtype for _, _, dtype in spec]
        parts = tf.numpy_function(training_set.sample, [index], types, stateful=False)
        sample = {
            name: tf.ensure_shape(part, shape)
            for part, (name, shape, _) in zip(parts, spec, strict=True)
        }
        return {"ids": ids, **sample}

    def with_words(batch):
        words = tf.numpy_function(look_up, [batch.pop("ids")], looked_up.dtype, stateful=False)
        shape = (batch["mask"].shape[0], *looked_up.shape[1:])
        return {"words": tf.ensure_shape(words, shape), **batch}

    rows = tf.data.Dataset.from_tensor_slices((order, training_set.word_ids(order, choice)))
    loaded = rows.map(load, num_parallel_calls=workers, deterministic=True)
    return (
        loaded.batch(batch_size, drop_remainder=drop_remainder).map(with_words).prefetch(prefetch)
    )


def letterboxed_images(images, image_path, input_size, workers):
    """Opens images in parallel, ahead of the reader.

    Yields:
        (file name, (S, S, 3) uint8, (width, height)), in the order of `images`.
    """

    def load(index):
        image = read_image(Path(image_path) / images[index])
        return letterbox_image(image, input_size), np.array(image.size, np.int32)

    def load_in_graph(index):
        return tf.numpy_function(load, [index], (tf.uint8, tf.int32), stateful=False)

    dataset = tf.data.Dataset.range(len(images))
    dataset = dataset.map(load_in_graph, num_parallel_calls=workers, deterministic=True)
    loaded = clear_errors(dataset.prefetch(2 * workers).as_numpy_iterator())
    for name, (pixels, size) in zip(images, loaded, strict=True):
        yield name, pixels, tuple(size.tolist())


@dataclass(frozen=True)
class ImageGroup:
    """One image of an evaluation set with its referents.

    Attributes:
        image: file name.
        referents: those of the image, in the order of the set.
        first_expression: for each referent, the place of its first expression in the set.
    """

    image: str
    referents: tuple[Referent, ...]
    first_expression: tuple[int, ...]


@dataclass(frozen=True)
class LoadedImage:
    """An image of an evaluation set, opened.

    Attributes:
        group: what it is.
        geometry: `Letterbox` between its pixels and the input's.
        pixels: (S, S, 3) uint8, letterboxed.
        masks: (R, h, w) uint8 of 0 and 1, one a referent, at the size of the image.
    """

    group: ImageGroup
    geometry: Letterbox
    pixels: np.ndarray
    masks: np.ndarray


def group_by_image(referents):
    """The images of an evaluation set, each once, in the order in which they first appear."""
    members, position = {}, 0
    for referent in referents:
        members.setdefault(referent.image, []).append((referent, position))
        position += len(referent.expressions)
    return [
        ImageGroup(image, tuple(r for r, _ in rows), tuple(p for _, p in rows))
        for image, rows in members.items()
    ]


def evaluation_images(groups, image_path, mask_path, input_size, workers, prefetch):
    """Opens the images of an evaluation set, in parallel and ahead of the reader.

    Args:
        groups: of `group_by_image`.
        image_path, mask_path: folders.
        input_size: side of the letterboxed input in pixels.
        workers: images opened in parallel.
        prefetch: images held ready.

    Yields:
        `LoadedImage`, in the order of `groups`.
    """

    def load(index):
        group = groups[index]
        image = read_image(Path(image_path) / group.image)
        for referent in group.referents:
            check_box_in_image(referent, *image.size)
        masks = np.stack([read_mask(mask_path, r, *image.size) for r in group.referents])
        return letterbox_image(image, input_size), masks

    def load_in_graph(index):
        return tf.numpy_function(load, [index], (tf.uint8, tf.uint8), stateful=False)

    dataset = tf.data.Dataset.range(len(groups))
    dataset = dataset.map(load_in_graph, num_parallel_calls=workers, deterministic=True)
    loaded = clear_errors(dataset.prefetch(prefetch).as_numpy_iterator())
    for group, (pixels, masks) in zip(groups, loaded, strict=True):
        height, width = masks.shape[1:]
        yield LoadedImage(group, Letterbox.fit(width, height, input_size), pixels, masks)
