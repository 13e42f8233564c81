"""Training on cached features: the frozen part of the backbone runs once per image.

The result is exact, since images are not augmented and frozen BatchNorm layers use their moving
statistics.
"""

import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from config.files import bytes_text
from config.schema import Config
from data.loading.feature_store import FeatureStore
from data.loading.pipeline import letterboxed_images
from data.support.progress import Progress
from model.mcn import frozen_cut

BATCH_SIZE = 8


def build_feature_store(config: Config, model: keras.Model, images: Sequence[str]) -> FeatureStore:
    """Opens the cached features of a training set and computes the missing ones.

    Args:
        config: the settings; `cache_dir` and `cache_dtype` select the folder and the type.
        model: network of `build_mcn` with its weights loaded.
        images: file names, each once.

    Returns:
        The complete `FeatureStore`.

    Raises:
        FeatureStoreError: the folder contains files of others or a damaged store.
        NoSpaceError: the disk is too small.
        DataError: an image cannot be read.
    """
    folder = Path(config.cache_dir or Path(config.log_path) / "features")
    cut = frozen_cut(model)
    frozen_part = keras.Model(model.input["image"], cut)
    key = {
        "weights": _digest(frozen_part),
        "input_size": config.input_size,
        "precision": config.precision,
        "files": [_size_and_time(Path(config.image_path) / image) for image in images],
    }
    shapes = [tensor.shape[1:] for tensor in cut]
    store = FeatureStore(folder, key, images, shapes, config.cache_dtype)
    if store.stale:
        print(f"{folder}: contained {store.stale}; computing them again")
    if missing := store.missing:
        print(f"{folder}: computing features of {len(missing)} images, {bytes_text(store.bytes)}")
        _fill(store, frozen_part, missing, config)
    return store


def trained_part(model: keras.Model) -> keras.Model:
    """The network behind the cached features: list of the features and the words → outputs."""
    return keras.Model([*frozen_cut(model), model.input["words"]], model.output)


def _fill(
    store: FeatureStore, frozen_part: keras.Model, missing: Sequence[str], config: Config
) -> None:
    size = config.input_size

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)], autograph=False)
    def encode(images):
        return frozen_part(tf.cast(images, tf.float32) / 255.0, training=False)

    images = letterboxed_images(missing, config.image_path, size, config.workers)
    with Progress(len(missing), "cache features", "images") as bar:
        done = 0
        while batch := list(islice(images, BATCH_SIZE)):
            features = [f.numpy() for f in encode(np.stack([pixels for _, pixels, _ in batch]))]
            for row, (name, _, image_size) in enumerate(batch):
                store.write(name, image_size, [feature[row] for feature in features])
            done += len(batch)
            bar.update(done)
    store.flush()


def _digest(model: keras.Model) -> str:
    digest = hashlib.sha256()
    for variable in model.variables:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return digest.hexdigest()


def _size_and_time(path: Path) -> list[int] | None:
    """Size and modification time of a file, which tell if an image has been replaced."""
    try:
        stat = path.stat()
    except OSError:
        return None  # Reading the image will raise the error.
    return [stat.st_size, stat.st_mtime_ns]
