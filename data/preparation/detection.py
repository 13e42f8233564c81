"""Training data of a plain detector, for pretraining a backbone: COCO instances as target grids."""

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data.loading.annotations import image_key
from data.loading.errors import DataError
from data.loading.images import read_image
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image
from data.preparation.coco import (
    CocoFile,
    Id,
    Row,
    attributes_of,
    box_xywh_px,
    image_size,
    look_up,
    read_coco,
)
from data.preparation.json_fields import entry_at, file_name
from data.support.datasets import python_function

STRIDES = (32, 16, 8)
BOX_CHANNELS = slice(1, 5)
# Each class is a channel of the target grids; attributes of free text would fill the memory.
MAX_CLASSES = 5_000


@dataclass(frozen=True)
class DetectionSet:
    """Images with all their objects.

    Attributes:
        images: (file name, width, height) of each image.
        boxes: boxes of each image, (n, 4) float64, xyxy in its pixels.
        labels: classes of these boxes, (n, G) int, one per group; −1 if unknown.
        groups: number of classes of each group. The first group are the categories, the others
            the attributes of the annotations, such as `"attributes": {"colour": "red"}`.
        left_out: number of images that were left out on request.
    """

    images: list[tuple[str, int, int]]
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    groups: tuple[int, ...]
    left_out: int = 0

    @property
    def channels(self) -> int:
        """Channels of a target or prediction: objectness, box (4), classes of all groups."""
        return 5 + sum(self.groups)

    def targets(self, index: int, input_size: int) -> list[np.ndarray]:
        """Computes the target grids of one image.

        The cell that contains the center of a box is responsible for it; if a cell contains
        several, the smallest object wins. The box channels are the position of the center within
        the cell, 0 to 1, and the logarithm of width and height in cells.

        Args:
            index: index of the image.
            input_size: side S of the letterboxed image in pixels.

        Returns:
            One grid (S/s, S/s, channels) float32 for each stride s in `STRIDES`.
        """
        _, width, height = self.images[index]
        geometry = Letterbox.fit(width, height, input_size)
        boxes = letterbox_box(self.boxes[index], geometry)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        order = np.argsort(-areas, kind="stable")  # The smallest is written last.
        starts = 5 + np.cumsum([0, *self.groups[:-1]])
        grids = []
        for stride in STRIDES:
            cells = input_size // stride
            grid = np.zeros((cells, cells, self.channels), np.float32)
            for k in order:
                center = (boxes[k, :2] + boxes[k, 2:]) / 2 / stride
                column, row = np.clip(center.astype(int), 0, cells - 1)
                size = np.log(np.maximum(boxes[k, 2:] - boxes[k, :2], 1.0) / stride)
                cell = grid[row, column]
                cell[:] = 0.0
                cell[0] = 1.0
                cell[BOX_CHANNELS] = [*(center - (column, row)), *size]
                for start, label in zip(starts, self.labels[index][k], strict=True):
                    if label >= 0:
                        cell[start + label] = 1.0
            grids.append(grid)
        return grids


def read_instances(path: str | os.PathLike, leave_out: Collection[str] = ()) -> DetectionSet:
    """Reads the images of a COCO file that have objects, in the order of the file.

    Args:
        path: COCO file with categories; crowds are skipped.
        leave_out: names of images that must not be seen, such as those of the evaluation sets.
            Images of COCO are recognized by their id, whatever the year of COCO in their names.

    Raises:
        OSError: the file cannot be read.
        DataError: it is not a COCO file, an image or annotation lacks a field or has an
            impossible value, it has no image of `leave_out`, or no image is left.
    """
    coco = read_coco(path)
    if not coco.categories:
        raise DataError(f"{path}: there is no list 'categories', whose classes the detector learns")
    names = _image_names(coco)
    left_out = _named_images(names, leave_out)
    if leave_out and not left_out:
        raise DataError(
            f"{path}: has none of the {len(leave_out):,} images to leave out, such as "
            f"{next(iter(leave_out))}: leave out images of this file, or none"
        )
    used = names.keys() - left_out
    annotations_of = _annotations_by_image(coco, used)
    if not annotations_of:
        raise DataError(f"{path}: no image with objects is left to train on")
    categories = list(coco.categories)
    attributes = _attribute_values(coco, annotations_of)
    images, boxes, labels = [], [], []
    for image_id, annotations in annotations_of.items():
        with entry_at(f"{path}: image {image_id}"):
            images.append((names[image_id], *image_size(coco.images[image_id])))
        boxes.append(np.array([_box_xyxy(a, coco) for a in annotations], np.float64))
        labels.append(np.array([_labels(a, categories, attributes) for a in annotations]))
    groups = (len(categories), *(len(values) for values in attributes.values()))
    if sum(groups) > MAX_CLASSES:
        most = max(attributes, key=lambda name: len(attributes[name]), default="categories")
        raise DataError(
            f"{path}: the categories and attributes have {sum(groups):,} different values, more "
            f"than {MAX_CLASSES:,}: remove those that are no classes, such as '{most}'"
        )
    return DetectionSet(images, boxes, labels, groups, len(left_out))


def detection_batches(
    detection_set: DetectionSet,
    image_path: str | os.PathLike,
    input_size: int,
    batch_size: int,
    workers: int,
    seed: int,
) -> tf.data.Dataset:
    """Builds an endless pipeline of shuffled batches.

    Args:
        detection_set: images and objects.
        image_path: folder of the images.
        input_size: side S of the letterboxed images in pixels.
        batch_size: images N per batch.
        workers: number of images to load in parallel.
        seed: seed of the order, which differs in each pass.

    Returns:
        Dataset of (images (N, S, S, 3) float32 in 0..1, tuple of target grids
        (N, S/s, S/s, channels) float32 for each stride s in `STRIDES`).
    """

    def load(index: int) -> tuple[np.ndarray, ...]:
        image = read_image(Path(image_path) / detection_set.images[index][0])
        return (letterbox_image(image, input_size), *detection_set.targets(index, input_size))

    def load_in_graph(index: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        types = (tf.uint8, *(tf.float32 for _ in STRIDES))
        image, *grids = python_function(load, [index], types)
        image = tf.ensure_shape(image, (input_size, input_size, 3))
        shaped = tuple(
            tf.ensure_shape(
                grid, (input_size // stride, input_size // stride, detection_set.channels)
            )
            for grid, stride in zip(grids, STRIDES, strict=True)
        )
        return tf.cast(image, tf.float32) / 255.0, shaped

    order = tf.data.Dataset.range(len(detection_set.images))
    order = order.shuffle(len(detection_set.images), seed=seed, reshuffle_each_iteration=True)
    loaded = order.map(load_in_graph, num_parallel_calls=workers, deterministic=True)
    return loaded.repeat().batch(batch_size).prefetch(2)


def _image_names(coco: CocoFile) -> dict[Id, str]:
    names = {}
    for image_id, image in coco.images.items():
        with entry_at(f"{coco.path}: image {image_id}"):
            names[image_id] = file_name("file_name", image.get("file_name"))
    return names


def _named_images(names: Mapping[Id, str], wanted: Collection[str]) -> set[Id]:
    """Ids of the images that a list of names means."""
    keys = {image_key(name) for name in wanted}
    return {image_id for image_id, name in names.items() if image_key(name) in keys}


def _annotations_by_image(coco: CocoFile, used: set[Id]) -> dict[Id, list[Row]]:
    """Id of each used image that has annotations → these, in the order of the images."""
    by_image: dict[Id, list[Row]] = defaultdict(list)
    for annotation_id, annotation in coco.annotations.items():
        with entry_at(f"{coco.path}: annotation {annotation_id}"):
            image = look_up(coco.images, annotation, "image_id")
        if image["id"] in used and not annotation.get("iscrowd"):
            by_image[image["id"]].append(annotation)
    return {image_id: by_image[image_id] for image_id in coco.images if image_id in by_image}


def _attribute_values(
    coco: CocoFile, annotations_of: Mapping[Id, Sequence[Row]]
) -> dict[str, list[Any]]:
    """Attribute → its values, both sorted."""
    values: dict[str, set[Any]] = defaultdict(set)
    for annotations in annotations_of.values():
        for annotation in annotations:
            with entry_at(f"{coco.path}: annotation {annotation['id']}"):
                attributes = attributes_of(annotation)
            for name, value in attributes.items():
                values[name].add(value)
    # Numbers and strings cannot be compared.
    return {
        name: sorted(values[name], key=lambda value: (isinstance(value, str), value))
        for name in sorted(values)
    }


def _labels(
    annotation: Row, categories: list[Id], attributes: Mapping[str, Sequence[Any]]
) -> list[int]:
    """Index of the category and of the value of each attribute; −1 if unknown."""
    own = attributes_of(annotation)
    pairs: list[tuple[Any, Sequence[Any]]] = [(annotation.get("category_id"), categories)]
    pairs += [(own.get(name), values) for name, values in attributes.items()]
    return [values.index(value) if value in values else -1 for value, values in pairs]


def _box_xyxy(annotation: Row, coco: CocoFile) -> tuple[float, float, float, float]:
    with entry_at(f"{coco.path}: annotation {annotation['id']}"):
        x, y, width, height = box_xywh_px(annotation)
    return x, y, x + width, y + height
