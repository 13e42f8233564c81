"""Features of frozen layers on disk: computed once per image, read in every epoch.

Each feature is one memory-mapped array with one row per image. A store belongs to the key that it
was created with (weights, input size, images); opening it with another key discards its contents.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError
from config.files import check_free_space, write_text


class FeatureStoreError(UserError):
    """The folder of a store contains files that the store would overwrite, or is damaged."""


class FeatureStore:
    """The features of a list of images.

    Args:
        folder: where the arrays are stored; created if missing. Files that the store did not
            write are never changed.
        key: plain values that the features depend on.
        images: image names, one per row.
        shapes: shape of each feature, without the batch axis.
        dtype: "float32", exact, or "float16", half the size.

    Attributes:
        stale: why the contents of an earlier store in the folder were discarded, or None.

    Raises:
        FeatureStoreError: the folder contains files that the store did not write and would
            overwrite, or the store is damaged.
        NoSpaceError: the features that are still missing would not fit on the disk.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        key: dict[str, Any],
        images: Sequence[str],
        shapes: Sequence[Sequence[int]],
        dtype: str = "float32",
    ) -> None:
        self.folder, self.shapes, self.dtype = Path(folder), [tuple(s) for s in shapes], dtype
        self.rows = {image: row for row, image in enumerate(images)}
        # As JSON gives it back: tuples are lists.
        key = json.loads(
            json.dumps({**key, "images": list(images), "shapes": self.shapes, "dtype": dtype})
        )
        self.stale = self._discard_other(key)
        self._check_space()
        # Written first, it marks the arrays as those of a store.
        write_text(self._key_path, json.dumps(key))
        self._arrays = [
            self._open(path, (len(images), *shape), dtype)
            for path, shape in zip(self._feature_paths(len(shapes)), self.shapes, strict=True)
        ]
        # Width and height of each image in pixels; 0 until its features are written.
        self._sizes = self._open(self._sizes_path, (len(images), 2), "int32")

    @property
    def bytes(self) -> int:
        """Size of the complete store."""
        return len(self.rows) * self._bytes_per_image

    @property
    def missing(self) -> list[str]:
        """Names of the images without features, in order."""
        done = self._sizes[:, 0] > 0
        return [image for image, row in self.rows.items() if not done[row]]

    def write(self, image: str, size: tuple[int, int], features: Sequence[np.ndarray]) -> None:
        """Stores the features of an image and its (width, height) in pixels."""
        row = self.rows[image]
        for array, feature in zip(self._arrays, features, strict=True):
            array[row] = feature
        self._sizes[row] = size

    def flush(self) -> None:
        """Writes all changes to the disk, features before the sizes that mark them as complete."""
        for array in [*self._arrays, self._sizes]:
            array.flush()

    def read(self, image: str) -> tuple[list[np.ndarray], tuple[int, int]]:
        """Features of an image in the store's dtype, and its (width, height) in pixels."""
        row = self.rows[image]
        width, height = self._sizes[row].tolist()
        return [array[row] for array in self._arrays], (width, height)

    @property
    def _key_path(self) -> Path:
        return self.folder / "key.json"

    @property
    def _sizes_path(self) -> Path:
        return self.folder / "sizes.npy"

    def _feature_paths(self, count: int) -> list[Path]:
        return [self.folder / f"feature_{index}.npy" for index in range(count)]

    @property
    def _bytes_per_image(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.shapes) * np.dtype(self.dtype).itemsize

    def _discard_other(self, key: dict[str, Any]) -> str | None:
        """Deletes the files of a store with another key; returns how it differs, or None."""
        features = self._feature_paths(len(self.shapes))
        if not self._key_path.exists():
            for path in (*features, self._sizes_path):
                if path.exists():
                    raise self._not_ours(path)
            return None
        stale = None
        try:
            found = json.loads(self._key_path.read_text(encoding="utf-8"))
        except ValueError:
            stale = "a damaged key.json"
        else:
            if not isinstance(found, dict) or not isinstance(found.get("shapes"), list):
                raise self._not_ours(self._key_path)
            differing = [name for name in sorted(key | found) if key.get(name) != found.get(name)]
            if differing:
                stale = f"features of other {', '.join(differing)}"
                features = self._feature_paths(len(found["shapes"]))
        if stale:
            for path in (*features, self._sizes_path, self._key_path):
                path.unlink(missing_ok=True)
        elif not all(path.exists() for path in features):
            self._sizes_path.unlink(missing_ok=True)  # It marks rows that no longer exist.
        return stale

    @staticmethod
    def _not_ours(path: Path) -> FeatureStoreError:
        return FeatureStoreError(
            f"{path} was not written by the feature cache; move it away or set cache_dir to "
            "another folder"
        )

    def _check_space(self) -> None:
        done = 0
        if self._sizes_path.exists():
            done = int(np.count_nonzero(self._open(self._sizes_path)[:, 0]))
        check_free_space(
            self.folder,
            (len(self.rows) - done) * self._bytes_per_image,
            "The feature cache",
            "set cache_dir to a folder on a larger disk, cache_dtype=float16 for half the size, or "
            "cache_features=0",
        )

    def _open(
        self, path: Path, shape: tuple[int, ...] | None = None, dtype: str | None = None
    ) -> np.memmap:
        if not path.exists():
            # A sparse file: rows that are not written yet take no space and read as zeros.
            return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        try:
            return np.lib.format.open_memmap(path, mode="r+")
        except ValueError as error:
            raise FeatureStoreError(
                f"{path}: damaged ({error}); delete {self._key_path} and the arrays beside it"
            ) from None
