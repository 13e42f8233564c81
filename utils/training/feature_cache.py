"""Training on cached features: the frozen part of the backbone runs once an image, not once a
step. Exact, since nothing augments the images and frozen BatchNorm uses its moving statistics."""

import hashlib
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from config.files import bytes_text
from data.loading.feature_store import FeatureStore
from data.loading.pipeline import letterboxed_images
from data.support.progress import Progress
from model.mcn import frozen_cut

BATCH = 8


def build_feature_store(config, model, images):
    """The features of the images of a training set, computed where they are missing.

    Args:
        config: `config.schema.Config`; cache_dir and cache_dtype say where and how.
        model: network of `build_mcn`, its weights loaded.
        images: file names, each once.

    Returns:
        `data.loading.feature_store.FeatureStore`, complete.

    Raises:
        FeatureStoreError: the disk is too small.
    """
    folder = Path(config.cache_dir or Path(config.log_path) / "features")
    cut = frozen_cut(model)
    frozen = keras.Model(model.input["image"], cut)
    key = {
        "weights": _digest(frozen),
        "input_size": config.input_size,
        "precision": config.precision,
    }
    key["files"] = [_stamp(Path(config.image_path) / image) for image in images]
    shapes = [tensor.shape[1:] for tensor in cut]
    store = FeatureStore(folder, key, images, shapes, config.cache_dtype)
    if store.stale:
        print(f"{folder}: holds {store.stale}; built anew")
    missing = store.missing
    if missing:
        print(f"{folder}: features of {len(missing)} images, {bytes_text(store.bytes)} in all")
        _fill(store, frozen, missing, config)
    return store


def trained_part(model):
    """The network from the cached features on: a list of them, then words, to all outputs."""
    return keras.Model([*frozen_cut(model), model.input["words"]], model.output)


def _fill(store, frozen, missing, config):
    size = config.input_size

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)], autograph=False)
    def encode(images):
        return frozen(tf.cast(images, tf.float32) / 255.0, training=False)

    images = letterboxed_images(missing, config.image_path, size, config.workers)
    with Progress(len(missing), "cache features", "images") as bar:
        done = 0
        while batch := list(islice(images, BATCH)):
            features = [f.numpy() for f in encode(np.stack([pixels for _, pixels, _ in batch]))]
            for row, (name, _, image_size) in enumerate(batch):
                store.write(name, image_size, [feature[row] for feature in features])
            done += len(batch)
            bar.update(done)
    store.flush()


def _digest(model):
    digest = hashlib.sha256()
    for variable in model.variables:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return digest.hexdigest()


def _stamp(path):
    """Size and time of a file: an image that was replaced has other features."""
    try:
        stat = path.stat()
    except OSError:
        return None  # Opening it will say so.
    return [stat.st_size, stat.st_mtime_ns]
