"""Training on cached features: the frozen part of the backbone runs once per image.

The result is exact, since images are not augmented and frozen BatchNorm layers use their moving
statistics.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from config.command_line import say
from config.files import bytes_text
from config.schema import Config
from data.loading.feature_store import FeatureStore
from data.loading.pipeline import letterboxed_images
from data.support.progress import Progress
from model.mcn import frozen_cut

BATCH_SIZE = 8
FLUSH_EVERY = 16  # Batches; what an interruption costs at most.


def build_feature_store(
    config: Config,
    model: keras.Model,
    images: Sequence[str],
    bad_images: dict[str, str] | None = None,
) -> FeatureStore:
    """Opens the cached features of a training set and computes the missing ones.

    Trainings that share a folder compute common features once, the others waiting. Features of
    other settings in it are named and kept.

    Args:
        config: the settings; `cache_dir` and `cache_dtype` select the folder and the type.
        model: network of `build_mcn` with its weights loaded.
        images: file names, each once.
        bad_images: if given, images that cannot be read are added to it with the reason.

    Returns:
        `FeatureStore` of all images but the bad ones.

    Raises:
        NoSpaceError: the disk is too small.
        DataError: features do not fit `cache_dtype`, or an image cannot be read, and there is no
            `bad_images`.
    """
    cut = frozen_cut(model)
    frozen_part = keras.Model(model.input["image"], cut)
    key = {
        "weights": _digest(frozen_part),
        "input_size": config.input_size,
        "precision": config.precision,
        "files": [_size_and_time(Path(config.image_path) / image) for image in images],
    }
    shapes = [tensor.shape[1:] for tensor in cut]
    folder = config.cache_dir or Path(config.log_path) / "features"
    store = FeatureStore(folder, key, images, shapes, config.cache_dtype)
    if not set(store.missing) <= set(bad_images or ()):
        for other in store.others():
            say(
                f"{other.folder}: features of other {', '.join(other.differing)} take "
                f"{bytes_text(other.bytes)}; delete the folder if no training needs them"
            )
        with store.writing():
            _fill(store, frozen_part, config, bad_images)
    return store


def trained_part(model: keras.Model) -> keras.Model:
    """The network behind the cached features: list of the features and the words → outputs."""
    return keras.Model([*frozen_cut(model), model.input["words"]], model.output)


def _fill(
    store: FeatureStore,
    frozen_part: keras.Model,
    config: Config,
    bad_images: dict[str, str] | None,
) -> None:
    size, missing, all_images = config.input_size, set(store.missing), list(store.rows)
    if not missing:  # Another process was faster.
        return
    count = f"{len(missing)} of {len(all_images)} images, {bytes_text(store.bytes)} in all"
    say(f"{store.folder}: computing features of {count}")

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)], autograph=False)
    def encode(images):
        return frozen_part(tf.cast(images, tf.float32) / 255.0, training=False)

    # The same images together, wherever an earlier run stopped: the last bit of a feature may
    # depend on the batch.
    batches = [all_images[at : at + BATCH_SIZE] for at in range(0, len(all_images), BATCH_SIZE)]
    batches = [batch for batch in batches if not missing.isdisjoint(batch)]
    names = [name for batch in batches for name in batch]
    loaded = letterboxed_images(names, config.image_path, size, config.workers, bad_images)
    with Progress(len(names), "cache features", "images") as bar:
        done = 0
        for number, batch in enumerate(batches, start=1):
            images = [next(loaded) for _ in batch]
            features = [f.numpy() for f in encode(np.stack([pixels for _, pixels, _ in images]))]
            for row, (name, _, image_size) in enumerate(images):
                if name in missing and name not in (bad_images or ()):
                    store.write(name, image_size, [feature[row] for feature in features])
            if number % FLUSH_EVERY == 0:
                store.flush()
            done += len(batch)
            bar.update(done)


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
