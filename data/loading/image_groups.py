"""The images of an evaluation set, each with all its referents.

Each image is read once, in parallel and ahead of the network.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from data.loading.annotations import Referent, check_box_in_image
from data.loading.errors import DataError
from data.loading.images import read_image
from data.loading.letterbox import Letterbox, letterbox_image
from data.loading.pipeline import load_ahead


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
    """

    group: ImageGroup
    geometry: Letterbox
    pixels: np.ndarray


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
    input_size: int,
    workers: int,
    prefetch: int,
    bad_images: dict[str, str] | None = None,
) -> Iterator[LoadedImage]:
    """Loads the images of an evaluation set, in parallel and in advance.

    Args:
        groups: the images, from `group_by_image`.
        image_path: folder of the images.
        input_size: side of the letterboxed input in pixels.
        workers: number of images that are loaded in parallel.
        prefetch: number of images that are loaded in advance.
        bad_images: if given, images that cannot be used are added to it with the reason, and
            left out.

    Yields:
        `LoadedImage`, in the order of `groups`.

    Raises:
        DataError: an image cannot be read or a box lies outside of it, and there is no
            `bad_images`.
    """

    def load(index):
        try:
            image = read_image(Path(image_path) / groups[index].image)
            for referent in groups[index].referents:
                check_box_in_image(referent, *image.size)
        except DataError as error:
            if bad_images is None:
                raise
            bad_images[groups[index].image] = str(error)
            return np.empty((0, 0, 3), np.uint8), np.zeros(2, np.int32)
        return letterbox_image(image, input_size), np.array(image.size, np.int32)

    loaded = load_ahead(load, len(groups), (tf.uint8, tf.int32), workers, prefetch)
    for group, (pixels, size) in zip(groups, loaded, strict=True):
        if size.all():
            width, height = size.tolist()
            yield LoadedImage(group, Letterbox.fit(width, height, input_size), pixels)
