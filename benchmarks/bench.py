"""Measures speed and memory against the limit of the machine and a plain reimplementation.

    python benchmarks/bench.py              # about 10 minutes on two idle cores
    python benchmarks/bench.py --quick      # small inputs, to test that everything runs

Prints a table of medians and writes all results to --output as JSON, each time as a median with
its spread (half the range divided by the median).
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

if not __package__:  # Run as a script: make the packages of the project importable.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks import EXPRESSIONS_PER_IMAGE
from benchmarks.bench_table import figures, format_table
from benchmarks.flops import count_flops
from benchmarks.plain import build_plain_mcn, evaluate_plainly
from benchmarks.records import (
    BENCHMARKS_README,
    add_record_argument,
    machine,
    machine_line,
    parsed,
    record,
)
from benchmarks.sets import (
    ANCHORS_PX,
    benchmark_config,
    evaluate_small_network,
    ground_one_expression,
    synthetic_set,
)
from benchmarks.timing import alternate, peak_memory
from config.files import write_text
from config.schema import Config
from config.signals import StopRequest
from model.layers.dilated import DilatedConv2D
from model.mcn import build_mcn, encode_image, encode_text, ground
from utils.environment import versions
from utils.prediction.grounder import Grounder
from utils.training.distributed.processes import Processes
from utils.training.feature_cache import trained_part
from utils.training.optimizer import build_optimizer
from utils.training.run.state import RunState
from utils.training.train_step import make_train_step
from utils.training.trainer import Trainer

Results = dict[str, Any]

EXPRESSION_COUNTS = (1, 2, 4, 8, 16)
MATRIX_SIDES = (1024, 2048)
CONVOLUTIONS = (  # Side of the feature map, input and output channels.
    (104, 128, 256), (104, 256, 256), (52, 128, 256), (52, 512, 512), (26, 256, 512),
    (13, 512, 1024),
)  # fmt: skip
TRAINING: dict[str, dict[str, Any]] = {
    "cached features, bfloat16": {"cache_features": 1, "precision": "mixed_bfloat16"},
    "cached features": {"cache_features": 1},
    "frozen backbone": {},
    "all layers": {"free_body": 0},
}


def measure_limit(repeats: int) -> Results:
    """Measures the highest rates of matrix products and 3×3 convolutions in GFLOP/s."""
    tasks, flops = {}, {}
    for side in MATRIX_SIDES:
        a, b = tf.random.normal((side, side)), tf.random.normal((side, side))
        name = f"matrix product {side}"
        tasks[name] = lambda a=a, b=b: tf.linalg.matmul(a, b).numpy()
        flops[name] = 2 * side**3
    for side, inputs, outputs in CONVOLUTIONS:
        x, w = tf.random.normal((2, side, side, inputs)), tf.random.normal((3, 3, inputs, outputs))
        name = f"convolution {side}×{side}, {inputs} to {outputs}"
        tasks[name] = lambda x=x, w=w: tf.nn.conv2d(x, w, 1, "SAME").numpy()
        flops[name] = 2 * 2 * side * side * 9 * inputs * outputs
    times = alternate(tasks, repeats)
    rates = {name: flops[name] / seconds / 1e9 for name, (seconds, _) in times.items()}
    best = {
        kind: max(rate for name, rate in rates.items() if name.startswith(kind))
        for kind in ("matrix product", "convolution")
    }
    return {"gflops": rates, "best": best}


def measure_dilated(quick: bool, repeats: int) -> Results:
    """Compares dilated convolutions of ASPP tap by tap with the library's, see `DilatedConv2D`."""
    side, channels, filters = (20, 256, 32) if quick else (52, 512, 256)
    inputs = tf.random.normal((8, side, side, channels))
    tasks = {}
    for dilation in (6, 9) if quick else (12, 18):
        for name, crop_taps in (("cropped taps", True), ("library", False)):
            layer = DilatedConv2D(
                filters, 3, crop_taps, padding="same", dilation_rate=dilation, use_bias=False
            )
            layer.build(inputs.shape)
            convolve = tf.function(lambda inputs, layer=layer: layer(inputs))
            tasks[f"dilation {dilation}, {name}"] = lambda c=convolve: c(inputs).numpy()
    return {"seconds": alternate(tasks, repeats)}


def measure_network(backbone: str, quick: bool, repeats: int, limit: Results) -> Results:
    """Measures encoding, grounding, and latency by the number of expressions per image."""
    config = benchmark_config(backbone, quick)
    model = build_mcn(config)
    grounder = Grounder(model, ANCHORS_PX)
    size, batch = config.input_size, config.eval_batch_size
    pixels = np.random.default_rng(0).integers(0, 255, (batch, size, size, 3), np.uint8)
    word_shape = (max(EXPRESSION_COUNTS), config.word_len, config.embed_dim)
    words = np.random.default_rng(1).normal(size=word_shape).astype(np.float32)
    features = grounder.encode_images(pixels)
    text_features = [feature[:batch] for feature in grounder.encode_words(words)]

    def one_image(expressions):
        features = grounder.encode_images(pixels[:1])
        text = grounder.encode_words(words[:expressions])
        for start in range(0, expressions, batch):
            rows = np.zeros(min(batch, expressions - start), np.int32)
            grounder.locate(features, rows, [part[start : start + batch] for part in text])

    def pairs():
        text = grounder.encode_words(words[:batch])
        grounder.locate(grounder.encode_images(pixels), np.arange(batch), text)

    times = alternate(
        {
            "image": lambda: [feature.numpy() for feature in grounder.encode_images(pixels)],
            "ground": lambda: grounder.locate(features, np.arange(batch), text_features),
            "whole": pairs,
            **{f"1 image × {n}": lambda n=n: one_image(n) for n in EXPRESSION_COUNTS},
        },
        repeats,
    )
    flops = {
        "image": count_flops(encode_image(model)),
        "text": count_flops(encode_text(model)),
        "ground": count_flops(ground(model)),
    }
    flops["whole"] = sum(flops.values())
    gflops = {
        part: batch * flops[part] / times[part][0] / 1e9 for part in ("image", "ground", "whole")
    }
    return {
        "seconds": times,
        "batch": batch,
        "counts": EXPRESSION_COUNTS,
        "images_per_s": batch / times["image"][0],
        "expressions_per_s": batch / times["ground"][0],
        "flops": {**flops, "published, one pair": count_flops(build_plain_mcn(config, model))},
        "gflops": gflops,
        "share_of_convolution_limit": {
            part: rate / limit["best"]["convolution"] for part, rate in gflops.items()
        },
    }


def measure_evaluation(backbone: str, quick: bool, repeats: int) -> Results:
    """Compares the evaluation of a set with `benchmarks.plain`."""
    config = benchmark_config(backbone, quick)
    model = build_mcn(config)
    grounder = Grounder(model, ANCHORS_PX)
    plain = build_plain_mcn(config, model)
    predict = tf.function(lambda image, words: plain({"image": image, "words": words}))
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        data = synthetic_set(folder, 3, EXPRESSIONS_PER_IMAGE, config)
        evaluator = data.evaluator()

        def ours():
            results["ours"] = evaluator.evaluate(grounder, config.word_len)

        def plainly():
            results["plain"] = evaluate_plainly(predict, data, config)

        times = alternate({"ours": ours, "plain": plainly}, repeats)
    return {
        "seconds": times,
        "expressions": evaluator.n_expressions,
        "speedup": times["plain"][0] / times["ours"][0],
        "largest_difference": max(
            abs(results["ours"][key] - results["plain"][key])
            for key in ("det_acc", "seg_iou", "overall_iou", "ie_score")
        ),
    }


def measure_training(backbone: str, quick: bool, repeats: int) -> Results:
    """Measures a training step of each kind of `TRAINING`."""
    batch = 2 if quick else 8
    steps = {}
    for name, changes in TRAINING.items():
        config = benchmark_config(backbone, quick).replace(batch_size=batch, **changes)
        model = build_mcn(config)
        optimizer = build_optimizer(1e-4)
        optimizer.build(model.trainable_variables)
        visual = _images(config)
        if config.cache_features:
            visual = {
                f"feature_{index}": tf.random.normal((batch, *tensor.shape[1:]))
                for index, tensor in enumerate(trained_part(model).inputs[:-1])
            }
        data = {**visual, **_words_and_targets(config)}
        step = make_train_step(
            tf.distribute.get_strategy(), model, optimizer, ANCHORS_PX,
            mask_weight=config.seg_loss_weight, cached_features=bool(config.cache_features),
        )  # fmt: skip
        steps[name] = lambda step=step, data=data: step(data)["loss"].numpy()
    times = alternate(steps, repeats)
    return {"seconds": times, "batch": batch}


def measure_loop(quick: bool, repeats: int) -> Results:
    """Measures what the training loop adds to its steps, with a scaled-down network.

    The loop reads losses, sets the learning rate, shows the progress and asks for stops; the same
    batch is used in every step, so that nothing is loaded.
    """
    steps = 4 if quick else 20
    config = benchmark_config("darknet", quick=True).replace(batch_size=8, save_every_minutes=0)
    processes = Processes(tf.distribute.get_strategy())
    model = build_mcn(config)
    optimizer = build_optimizer(1e-4)
    optimizer.build(model.trainable_variables)
    step = make_train_step(
        processes.strategy, model, optimizer, ANCHORS_PX, mask_weight=config.seg_loss_weight
    )
    batch = {**_images(config), **_words_and_targets(config), "row": tf.range(config.batch_size)}
    trainer = Trainer(
        config, {}, processes, range(steps * config.batch_size), {},
        Grounder(model, ANCHORS_PX), optimizer, SimpleNamespace(save=lambda state: None),
    )  # fmt: skip
    trainer._step = step
    trainer._batches = lambda epoch, first_step: itertools.repeat(batch, steps)

    def bare():
        for _ in range(steps):
            result = step(batch)
        return result["loss"].numpy()

    with contextlib.redirect_stderr(io.StringIO()):
        tasks = {"steps": bare, "loop": lambda: trainer.train_epoch(RunState(), StopRequest())}
        # The difference is small: many short turns, whose median outliers do not move.
        times = alternate(tasks, repeats if quick else 10 * repeats)
    return {
        "seconds_per_step": times["steps"][0] / steps,
        "overhead": times["loop"][0] / times["steps"][0] - 1,
    }


def _images(config: Config) -> dict[str, tf.Tensor]:
    size = config.input_size
    return {"image": tf.zeros((config.batch_size, size, size, 3), tf.uint8)}


def _words_and_targets(config: Config) -> dict[str, tf.Tensor]:
    batch, cells = config.batch_size, config.input_size // 8
    return {
        "words": tf.random.normal((batch, config.word_len, config.embed_dim)),
        "box_xyxy_px": tf.constant([[10.0, 12.0, 40.0, 50.0]] * batch),
        "mask": tf.zeros((batch, cells, cells, 1), tf.uint8),
    }


def measure_memory(quick: bool) -> Results:
    """Measures the peak memory of evaluations of a small and a large set, in new processes."""
    sizes = (20, 60) if quick else (100, 2000)
    peaks = {str(images): peak_memory(evaluate_small_network, images) for images in sizes}
    small, large = peaks.values()
    return {"bytes": peaks, "growth": large / small - 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="use small inputs; the results mean nothing"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="number of timed calls per task (default: 5)"
    )
    parser.add_argument(
        "--backbones", nargs="+", default=["darknet", "vgg"], help="default: darknet vgg"
    )
    parser.add_argument(
        "--output", default="result/bench.json", metavar="FILE",
        help="JSON file to write (default: result/bench.json)",
    )  # fmt: skip
    add_record_argument(parser)
    arguments = parsed(parser)
    quick, repeats = arguments.quick, arguments.repeats
    few = max(repeats // 2, 1)

    limit = measure_limit(2 * repeats)
    results: Results = {"limit": limit, "quick": quick, "versions": versions(), "backbones": {}}
    for backbone in arguments.backbones:
        results["backbones"][backbone] = {
            "network": measure_network(backbone, quick, repeats, limit),
            "peak_bytes": peak_memory(ground_one_expression, backbone, quick),
            "evaluation": measure_evaluation(backbone, quick, few),
            "training": measure_training(backbone, quick, few),
        }
    results["dilated"] = measure_dilated(quick, repeats)
    results["loop"] = measure_loop(quick, repeats)
    results["memory"] = measure_memory(quick)
    results["machine"] = machine()
    write_text(arguments.output, json.dumps(results, indent=2) + "\n")
    table = format_table(results)
    print(f"{machine_line()}\n{table}\n\nResults are in {arguments.output}")
    if arguments.record:
        record("bench", figures(results), {BENCHMARKS_README: f"{machine_line()}:\n\n{table}"})


if __name__ == "__main__":
    main()
