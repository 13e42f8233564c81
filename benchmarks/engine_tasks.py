"""What a process of `benchmarks/engines.py` is told to do: it imports TensorFlow and the engine."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.plain import build_plain_mcn, evaluate_plainly
from benchmarks.sets import ANCHORS_PX, SyntheticSet
from benchmarks.timing import peak_of_process
from config.schema import Config
from model.decode import best_box
from utils.prediction.grounder import load_grounder

Tasks = dict[str, Callable[[], Any]]


def engine_tasks(
    config: Config, engine: str, precision: str, data: SyntheticSet, expressions: int
) -> Tasks:
    """The tasks of an engine.

    Args:
        config: the settings; evaluate_model are the weights.
        engine, precision: config keys.
        data: the set to evaluate on.
        expressions: how many to ground at once.

    Returns:
        Functions by name: the keys of `benchmarks.engines.TASKS`, "answer", which returns the box
        (1, 4) and the mask probability (1, h, w) of one pair, and "peak", which returns the peak
        memory of the process in bytes.
    """
    pixels, words = _inputs(config, expressions)
    grounder = load_grounder(config, engine=engine, precision=precision)
    evaluator = data.evaluator()

    def locate(features, count):
        text = grounder.encode_words(words[:count])
        return grounder.locate(features, np.zeros(count, np.int32), text)

    def image():
        return [np.asarray(feature) for feature in grounder.encode_images(pixels)]

    def answer():
        box, _, _, probability = locate(grounder.encode_images(pixels), 1)
        return box, probability

    features = grounder.encode_images(pixels)
    return {
        "pair": lambda: answer() and None,
        "image": lambda: image() and None,
        "expressions": lambda: locate(features, expressions) and None,
        "evaluation": lambda: evaluator.evaluate(grounder, config.word_len) and None,
        "answer": answer,
        "peak": peak_of_process,
    }


def plain_tasks(
    config: Config, _engine: str, _precision: str, data: SyntheticSet, expressions: int
) -> Tasks:
    """The tasks of the plain network, see `engine_tasks`; it has no parts."""
    pixels, words = _inputs(config, expressions)
    plain = build_plain_mcn(config, load_grounder(config).model)
    predict = tf.function(lambda image, words: plain({"image": image, "words": words}))

    def answer():
        outputs = predict(pixels.astype(np.float32) / 255, words[:1])
        box, _ = best_box(outputs["boxes"], ANCHORS_PX, config.input_size)
        return box.numpy(), keras.ops.sigmoid(outputs["mask"][..., 0]).numpy()

    return {
        "pair": lambda: answer() and None,
        "evaluation": lambda: evaluate_plainly(predict, data, config) and None,
        "answer": answer,
        "peak": peak_of_process,
    }


def _inputs(config: Config, expressions: int) -> tuple[np.ndarray, np.ndarray]:
    """One image (1, S, S, 3) uint8 and words (expressions, T, D) float32."""
    size, shape = config.input_size, (expressions, config.word_len, config.embed_dim)
    pixels = np.random.default_rng(0).integers(0, 255, (1, size, size, 3), np.uint8)
    return pixels, np.random.default_rng(1).normal(size=shape).astype(np.float32)
