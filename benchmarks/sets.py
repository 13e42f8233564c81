"""Networks and data sets to measure on."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from config.schema import Config
from data.loading.annotations import Referent
from data.loading.masks import open_masks
from data.text.vectors import WordTable
from model.mcn import build_mcn
from utils.evaluation.evaluator import Evaluator
from utils.prediction.grounder import Grounder

ANCHORS_PX = np.array([(137, 256), (248, 272), (386, 271)], np.float32)
IMAGE_SIZE = (640, 480)
BOX_XYXY_PX = (160, 120, 480, 360)
WORDS_PER_EXPRESSION = 5
VOCABULARY = [f"word{number}" for number in range(200)]


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """Images in the size of photographs with one referent each.

    Attributes:
        referents: the referents with their expressions.
        words: word vectors of all expressions.
        folder: contains the images and masks.
        masks: (h, w) uint8, 0 or 1, one per referent.
    """

    referents: list[Referent]
    words: WordTable
    folder: str
    masks: list[np.ndarray]

    def evaluator(self) -> Evaluator:
        """Returns an `Evaluator` of the set with the published settings."""
        masks = open_masks(self.folder)
        return Evaluator(self.referents, self.words, self.folder, masks, batch_size=8, workers=2)


def benchmark_config(backbone: str, quick: bool = False) -> Config:
    """Returns the settings of the published network.

    Args:
        backbone: config key.
        quick: scale the network down, to test that a benchmark runs.
    """
    config = Config(backbone=backbone, rnn_cell="gru", pretrained_weights="")
    if quick:
        config = config.replace(
            input_size=96, backbone_width=0.125, head_width=0.125, rnn_hidden_size=64,
            aspp_dilations=[1, 2, 4],
        )  # fmt: skip
    return config


def synthetic_set(
    folder: str | os.PathLike, images: int, expressions: int, config: Config, distinct: int = 8
) -> SyntheticSet:
    """Writes images and masks.

    Args:
        folder: where to write them.
        images: number of images.
        expressions: number of expressions per image.
        config: the settings; word_len and embed_dim are used.
        distinct: number of different images; image k links to image k mod `distinct`.
    """
    rng = np.random.default_rng(0)
    folder = Path(folder)
    mask = np.zeros(IMAGE_SIZE[::-1], np.uint8)
    left, top, right, bottom = BOX_XYXY_PX
    mask[top:bottom, left:right] = 1
    referents = []
    for number in range(images):
        name = f"{number}.jpg"
        if number < distinct:
            coarse = rng.integers(0, 255, (12, 16, 3), np.uint8)
            Image.fromarray(coarse).resize(IMAGE_SIZE, Image.Resampling.BICUBIC).save(folder / name)
            np.save(folder / f"{number}.npy", mask)
        else:
            (folder / name).symlink_to(f"{number % distinct}.jpg")
            (folder / f"{number}.npy").symlink_to(f"{number % distinct}.npy")
        length = min(WORDS_PER_EXPRESSION, config.word_len)
        texts = tuple(" ".join(rng.choice(VOCABULARY, length)) for _ in range(expressions))
        referents.append(Referent(name, BOX_XYXY_PX, 0, number, texts))
    vectors = rng.normal(size=(len(VOCABULARY) + 1, config.embed_dim)).astype(np.float32)
    vectors[0] = 0
    index = {word: row for row, word in enumerate(VOCABULARY, start=1)}
    return SyntheticSet(referents, WordTable(vectors, index), str(folder), [mask] * images)


def evaluate_small_network(images: int) -> None:
    """Evaluates a scaled-down network on a set with two expressions per image."""
    config = benchmark_config("darknet", quick=True)
    with tempfile.TemporaryDirectory() as folder:
        evaluator = synthetic_set(folder, images, 2, config).evaluator()
        evaluator.evaluate(Grounder(build_mcn(config), ANCHORS_PX), config.word_len)


def ground_one_expression(backbone: str, quick: bool) -> None:
    """Grounds one expression in one image with a new network."""
    config = benchmark_config(backbone, quick)
    grounder = Grounder(build_mcn(config), ANCHORS_PX)
    size = config.input_size
    features = grounder.encode_images(np.zeros((1, size, size, 3), np.uint8))
    words = np.zeros((1, config.word_len, config.embed_dim), np.float32)
    grounder.locate(features, np.zeros(1, np.int32), grounder.encode_words(words))
