"""Networks and data sets that the measurements run on."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from config.schema import Config
from data.loading.annotations import Referent
from data.text.vectors import WordTable

ANCHORS = np.array([(137, 256), (248, 272), (386, 271)], np.float32)
IMAGE_SIZE = (640, 480)
VOCABULARY = [f"word{number}" for number in range(200)]


@dataclass(frozen=True)
class SyntheticSet:
    """Photograph-sized images with one referent each; `masks` are (h, w) uint8."""

    referents: list
    words: WordTable
    image_path: str
    mask_path: str
    masks: list


def full_size(backbone, quick=False):
    """The published network, or with `quick` one that is only there to be run."""
    config = Config(backbone=backbone, rnn_cell="gru", pretrained_weights="")
    if quick:
        config = config.replace(
            input_size=96, backbone_width=0.125, head_width=0.125, jemb_dim=128, rnn_hidden_size=64,
            aspp_dilations=[1, 2, 4],
        )  # fmt: skip
    return config


def synthetic_set(folder, images, expressions, config, distinct=8):
    """Writes images and masks; image k is a copy of image k mod `distinct`."""
    rng = np.random.default_rng(0)
    folder = Path(folder)
    width, height = IMAGE_SIZE
    referents, masks = [], []
    for number in range(images):
        name = f"{number}.jpg"
        if number < distinct:
            coarse = rng.integers(0, 255, (12, 16, 3), np.uint8)
            Image.fromarray(coarse).resize(IMAGE_SIZE, Image.Resampling.BICUBIC).save(folder / name)
            mask = np.zeros((height, width), np.uint8)
            mask[120:360, 160:480] = 1
            np.save(folder / f"{number}.npy", mask)
            masks.append(mask)
        else:
            (folder / name).symlink_to(f"{number % distinct}.jpg")
            (folder / f"{number}.npy").symlink_to(f"{number % distinct}.npy")
        texts = tuple(
            " ".join(rng.choice(VOCABULARY, min(5, config.word_len))) for _ in range(expressions)
        )
        referents.append(Referent(name, (160, 120, 480, 360), 0, number, texts))
    vectors = rng.normal(size=(len(VOCABULARY) + 1, config.embed_dim)).astype(np.float32)
    vectors[0] = 0
    index = {word: row for row, word in enumerate(VOCABULARY, start=1)}
    return SyntheticSet(referents, WordTable(vectors, index), str(folder), str(folder), masks)


def memory_of_evaluation(images):
    """Evaluates a small network on a set of so many images, two expressions each."""
    from model.mcn import build_mcn
    from utils.evaluation.evaluator import Evaluator
    from utils.prediction.grounder import Grounder

    config = full_size("darknet", quick=True)
    with tempfile.TemporaryDirectory() as folder:
        data = synthetic_set(folder, images, 2, config)
        evaluator = Evaluator(
            data.referents, data.words, data.image_path, data.mask_path, batch_size=8, workers=2
        )
        evaluator.evaluate(Grounder(build_mcn(config), ANCHORS), config.word_len)
