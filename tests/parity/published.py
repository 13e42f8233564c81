"""The inputs and weights behind the golden figures, drawn again from their rule.

A layer's weight `index` under seed `seed` comes from RandomState(crc32("layer/index/seed")); its
distribution follows from the kind that the manifest gives. Files are written as Keras 2.2.4
writes them.
"""

import json
import zlib
from pathlib import Path

import h5py
import numpy as np

GOLDEN = Path(__file__).parent / "golden"
CONV_GAIN = {"darknet": 1.0, "vgg": 2.0}
INPUT_SIZE, WORD_LEN, EMBED_DIM = 416, 15, 300


def manifest(backbone):
    return json.loads((GOLDEN / f"manifest_{backbone}.json").read_text())


def draw_weight(layer, index, seed, shape, kind, conv_gain):
    """One array of the checkpoint, float32."""
    rng = np.random.RandomState(zlib.crc32(f"{layer}/{index}/{seed}".encode()) & 0xFFFFFFFF)
    fan_in = np.prod(shape[:-1])
    draws = {
        "conv_kernel": lambda: rng.normal(size=shape) * np.sqrt(conv_gain / fan_in),
        "dense_kernel": lambda: rng.normal(size=shape) * np.sqrt(2.0 / fan_in),
        "gru_kernel": lambda: rng.normal(size=shape) / np.sqrt(shape[0]),
        "gru_recurrent": lambda: rng.normal(size=shape) / np.sqrt(shape[0]),
        "bias": lambda: rng.normal(size=shape) * 0.02,
        "gamma": lambda: rng.uniform(0.8, 1.2, size=shape),
        "beta": lambda: rng.normal(size=shape) * 0.1,
        "moving_mean": lambda: rng.normal(size=shape) * 0.1,
        "moving_var": lambda: rng.uniform(0.5, 1.5, size=shape),
    }
    return draws[kind]().astype(np.float32)


def write_checkpoint(path, backbone, seed=0, rename=None):
    """Writes the checkpoint of a manifest as Keras 2.2.4 lays it out.

    Args:
        path: file to write.
        backbone: "darknet" or "vgg".
        seed: of the weights.
        rename: optional function on layer names, for files whose counters started elsewhere.
    """
    rename = rename or (lambda name: name)
    layers = manifest(backbone)["layers"]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [rename(layer["layer_name"]).encode() for layer in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        for layer in layers:
            group = file.create_group(rename(layer["layer_name"]))
            names = [weight["name"].encode() for weight in layer["weights"]]
            group.attrs["weight_names"] = names
            for index, (name, weight) in enumerate(zip(names, layer["weights"], strict=True)):
                group[name] = draw_weight(
                    layer["layer_name"],
                    index,
                    seed,
                    tuple(weight["shape"]),
                    weight["kind"],
                    CONV_GAIN[backbone],
                )
    return path


def network_inputs(seed=0, n=2):
    """Images (n, 416, 416, 3) in 0..1 and words (n, 15, 300), float32."""
    rng = np.random.RandomState(seed)
    noise = rng.uniform(0, 1, size=(n, INPUT_SIZE, INPUT_SIZE, 3))
    coarse = rng.uniform(0, 1, size=(n, 8, 8, 3))
    blocks = np.repeat(np.repeat(coarse, INPUT_SIZE // 8, axis=1), INPUT_SIZE // 8, axis=2)
    image = (0.25 * noise + 0.75 * blocks).astype(np.float32)
    words = (rng.normal(size=(n, WORD_LEN, EMBED_DIM)) * 0.4).astype(np.float32)
    words[1, 6:] = 0
    return image, words
