"""COCO-style instances as grid targets of a plain detector, for pretraining a backbone."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from data.loading.images import read_image
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image

STRIDES = (32, 16, 8)
BOX_CHANNELS = slice(1, 5)


@dataclass(frozen=True)
class DetectionSet:
    """Images with all their objects.

    Attributes:
        images: (file name, width, height) of each image.
        boxes: for each image (n, 4) float64, xyxy in its pixels.
        labels: for each image (n, G) int, a class in each group; −1: not known.
        groups: number of classes of each group: the categories, then every attribute that the
            annotations have (`"attributes": {"colour": "red"}`).
    """

    images: list
    boxes: list
    labels: list
    groups: tuple[int, ...]

    @property
    def channels(self):
        """Of a target or prediction: object or not, box (4), classes of all groups."""
        return 5 + sum(self.groups)

    def targets(self, index, input_size):
        """Grids of one image: a list of (S/s, S/s, channels) float32 for s in `STRIDES`.

        The cell that holds a box's centre is responsible; of several objects in a cell the
        smallest. Box channels: centre within the cell in 0..1, log of width and height in cells.
        """
        _, width, height = self.images[index]
        geometry = Letterbox.fit(width, height, input_size)
        boxes = letterbox_box(self.boxes[index], geometry)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        order = np.argsort(-areas, kind="stable")  # the smallest is written last
        starts = 5 + np.cumsum([0, *self.groups[:-1]])
        grids = []
        for stride in STRIDES:
            cells = input_size // stride
            grid = np.zeros((cells, cells, self.channels), np.float32)
            for k in order:
                centre = (boxes[k, :2] + boxes[k, 2:]) / 2 / stride
                column, row = np.clip(centre.astype(int), 0, cells - 1)
                size = np.log(np.maximum(boxes[k, 2:] - boxes[k, :2], 1.0) / stride)
                cell = grid[row, column]
                cell[:] = 0.0
                cell[0] = 1.0
                cell[BOX_CHANNELS] = [*(centre - (column, row)), *size]
                for start, label in zip(starts, self.labels[index][k], strict=True):
                    if label >= 0:
                        cell[start + label] = 1.0
            grids.append(grid)
        return grids


def read_instances(path, leave_out=()):
    """Reads a COCO-style instances.json.

    Args:
        path: the file.
        leave_out: names of images that must not be seen, such as those of the evaluation sets.

    Returns:
        `DetectionSet` of the images that have objects, in the order of the file.

    Raises:
        ValueError: the file is no such JSON, or no image is left.
    """
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        leave_out = set(leave_out)
        images = {i["id"]: i for i in raw["images"] if i["file_name"] not in leave_out}
        of_image = {}
        for annotation in raw["annotations"]:
            if annotation["image_id"] in images and not annotation.get("iscrowd"):
                of_image.setdefault(annotation["image_id"], []).append(annotation)
        categories = [category["id"] for category in raw["categories"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a COCO-style instances.json ({error!r})") from None
    if not of_image:
        raise ValueError(f"{path}: no image with objects is left to train on")
    attributes = _attribute_values(of_image)
    vocabularies = [categories, *attributes.values()]

    def labels(annotation):
        values = [annotation["category_id"]]
        values += [annotation.get("attributes", {}).get(name) for name in attributes]
        return [
            vocabulary.index(value) if value in vocabulary else -1
            for vocabulary, value in zip(vocabularies, values, strict=True)
        ]

    kept = [i for i in images if i in of_image]
    return DetectionSet(
        images=[tuple(images[i][key] for key in ("file_name", "width", "height")) for i in kept],
        boxes=[_boxes_xyxy(of_image[i]) for i in kept],
        labels=[np.array([labels(a) for a in of_image[i]]) for i in kept],
        groups=tuple(len(vocabulary) for vocabulary in vocabularies),
    )


def detection_batches(detection_set, image_path, input_size, batch_size, workers, seed):
    """An endless tf.data.Dataset of (image (N, S, S, 3) float32 in 0..1, list of target grids)."""

    def load(index):
        image = read_image(Path(image_path) / detection_set.images[index][0])
        return (letterbox_image(image, input_size), *detection_set.targets(index, input_size))

    def load_in_graph(index):
        types = (tf.uint8, *(tf.float32 for _ in STRIDES))
        image, *grids = tf.numpy_function(load, [index], types, stateful=False)
        image = tf.ensure_shape(image, (input_size, input_size, 3))
        grids = tuple(
            tf.ensure_shape(
                grid, (input_size // stride, input_size // stride, detection_set.channels)
            )
            for grid, stride in zip(grids, STRIDES, strict=True)
        )
        return tf.cast(image, tf.float32) / 255.0, grids

    order = tf.data.Dataset.range(len(detection_set.images))
    order = order.shuffle(len(detection_set.images), seed=seed, reshuffle_each_iteration=True)
    loaded = order.map(load_in_graph, num_parallel_calls=workers, deterministic=True)
    return loaded.repeat().batch(batch_size).prefetch(2)


def _attribute_values(of_image):
    values = {}
    for annotations in of_image.values():
        for annotation in annotations:
            for name, value in annotation.get("attributes", {}).items():
                values.setdefault(name, set()).add(value)
    return {name: sorted(values[name]) for name in sorted(values)}


def _boxes_xyxy(annotations):
    boxes = np.array([annotation["bbox"] for annotation in annotations], np.float64)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
