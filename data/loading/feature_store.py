"""Features of frozen layers on disk: computed once an image, read in every epoch.

One memory-mapped array a feature, one row an image. A store belongs to the key it was made with
(weights, input size, images); opened with another key it starts anew.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from config.files import bytes_text, free_bytes, written_atomically


class FeatureStoreError(ValueError):
    """A store that cannot be made; the message says what it needs and how to make room."""


class FeatureStore:
    """The features of a list of images.

    Args:
        folder: where the arrays lie; made if it is not there.
        key: dict of plain values that the features depend on.
        images: names, one a row.
        shapes: of each feature, without the batch axis.
        dtype: "float32", exact, or "float16", half the size.

    Attributes:
        stale: what differed from an earlier store in the folder, or None.

    Raises:
        FeatureStoreError: the disk has too little room for what is still to be written.
    """

    def __init__(self, folder, key, images, shapes, dtype="float32"):
        self.folder, self.shapes, self.dtype = Path(folder), [tuple(s) for s in shapes], dtype
        self.rows = {image: row for row, image in enumerate(images)}
        key = json.loads(
            json.dumps({**key, "images": images, "shapes": self.shapes, "dtype": dtype})
        )
        self.stale = self._difference(key)
        if self.stale is not None:
            self._clear()
        present = sum(path.stat().st_size for path in self._paths() if path.exists())
        self._check_room(present)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._arrays = [
            self._open(path, (len(images), *shape), dtype)
            for path, shape in zip(self._paths(), self.shapes, strict=True)
        ]
        # Width and height of each image in pixels; 0 until its features are written.
        self._sizes = self._open(self.folder / "sizes.npy", (len(images), 2), "int32")
        with written_atomically(self.folder / "key.json") as file:
            file.write(json.dumps(key).encode())

    @property
    def bytes(self):
        """Size of the complete store."""
        per_image = sum(int(np.prod(shape)) for shape in self.shapes)
        return len(self.rows) * per_image * np.dtype(self.dtype).itemsize

    @property
    def missing(self):
        """Names of the images without features yet, in order."""
        done = self._sizes[:, 0] > 0
        return [image for image, row in self.rows.items() if not done[row]]

    def write(self, image, size, features):
        """Keeps the features of an image and its (width, height) in pixels."""
        row = self.rows[image]
        for array, feature in zip(self._arrays, features, strict=True):
            array[row] = feature
        self._sizes[row] = size

    def flush(self):
        """Writes everything out, features before the mark that they are there."""
        for array in [*self._arrays, self._sizes]:
            array.flush()

    def read(self, image):
        """(features, (width, height)): a list of arrays in the store's dtype."""
        row = self.rows[image]
        return [array[row] for array in self._arrays], tuple(self._sizes[row].tolist())

    def _paths(self):
        return [self.folder / f"feature_{index}.npy" for index in range(len(self.shapes))]

    def _difference(self, key):
        path = self.folder / "key.json"
        if not path.exists():
            return None if not self.folder.exists() else "an unfinished store"
        try:
            found = json.loads(path.read_text())
            differing = [
                name for name in sorted({*key, *found}) if key.get(name) != found.get(name)
            ]
        except (json.JSONDecodeError, TypeError, AttributeError):
            return "a damaged key.json"
        return f"features of other {', '.join(differing)}" if differing else None

    def _clear(self):
        known = {"key.json", "sizes.npy"}
        for path in self.folder.iterdir() if self.folder.exists() else ():
            if path.name not in known and not path.name.startswith("feature_"):
                raise FeatureStoreError(
                    f"{path}: is no file of a feature store; set cache_features to an empty folder"
                )
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _check_room(self, present):
        free = free_bytes(self.folder)
        if self.bytes - present > free:
            raise FeatureStoreError(
                f"{self.folder}: cached features need {bytes_text(self.bytes)}, the disk has "
                f"{bytes_text(free)} free. Set cache_features to a folder on a larger disk, "
                "cache_dtype=float16 for half the size, or cache_features=0"
            )

    @staticmethod
    def _open(path, shape, dtype):
        if path.exists():
            return np.lib.format.open_memmap(path, mode="r+")
        # A sparse file: rows that are not written yet take no room and read as zeros.
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
