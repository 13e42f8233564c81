"""Measures this implementation against the machine's ceiling and the published schedule.

    python benchmarks/bench.py                      # a quarter of an hour on two idle cores
    python benchmarks/bench.py --quick              # small inputs, to see that it runs

Prints a table of medians (± half the range over the median) and writes them to --output as JSON.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks.flops import count_flops
from benchmarks.plain import build_plain_mcn, evaluate_plainly
from benchmarks.sets import ANCHORS, full_size, memory_of_evaluation, synthetic_set
from benchmarks.timing import alternate, peak_memory
from model.mcn import build_mcn, encode_image, encode_text, ground
from utils.evaluation.evaluator import Evaluator
from utils.prediction.grounder import Grounder
from utils.training.feature_cache import trained_part
from utils.training.optimizer import build_optimizer
from utils.training.trainer import make_train_step

EXPRESSIONS = 7  # per image, as in RefCOCO's evaluation sets


def measure_ceiling(repeats):
    """(a) The largest rates of a matrix product and of 3×3 convolutions, in GFLOP/s."""
    tasks, flops = {}, {}
    for n in (1024, 2048):
        a, b = tf.random.normal((n, n)), tf.random.normal((n, n))
        tasks[f"matrix product {n}"] = lambda a=a, b=b: tf.linalg.matmul(a, b).numpy()
        flops[f"matrix product {n}"] = 2 * n**3
    for side, cin, cout in (
        (104, 128, 256), (104, 256, 256), (52, 128, 256), (52, 512, 512), (26, 256, 512),
        (13, 512, 1024),
    ):  # fmt: skip
        x, w = tf.random.normal((2, side, side, cin)), tf.random.normal((3, 3, cin, cout))
        name = f"convolution {side}×{side}, {cin} to {cout}"
        tasks[name] = lambda x=x, w=w: tf.nn.conv2d(x, w, 1, "SAME").numpy()
        flops[name] = 2 * 2 * side * side * 9 * cin * cout
    times = alternate(tasks, repeats)
    rates = {name: flops[name] / seconds / 1e9 for name, (seconds, _) in times.items()}
    best = {
        kind: max(rate for name, rate in rates.items() if name.startswith(kind))
        for kind in ("matrix product", "convolution")
    }
    return {"gflops": rates, "best": best}


def measure_network(backbone, quick, repeats, ceiling):
    """(b), (e): encoding, grounding, latency, FLOPs, cost by expressions an image."""
    config = full_size(backbone, quick)
    model = build_mcn(config)
    grounder = Grounder(model, ANCHORS)
    size, batch = config.input_size, config.eval_batch_size
    pixels = np.random.default_rng(0).integers(0, 255, (batch, size, size, 3), np.uint8)
    words = np.random.default_rng(1).normal(size=(16, config.word_len, config.embed_dim))
    words = words.astype(np.float32)
    features = grounder.encode_images(pixels)
    text_features = [feature[:batch] for feature in grounder.encode_words(words)]

    def picture(expressions):
        of_one = grounder.encode_images(pixels[:1])
        text = grounder.encode_words(words[:expressions])
        for at in range(0, expressions, batch):
            rows = np.zeros(min(batch, expressions - at), np.int32)
            grounder.locate(of_one, rows, [feature[at : at + batch] for feature in text])

    def pairs():
        text = grounder.encode_words(words[:batch])
        grounder.locate(grounder.encode_images(pixels), np.arange(batch), text)

    tasks = {
        "encode a batch": lambda: tf.nest.map_structure(np.asarray, grounder.encode_images(pixels)),
        "ground a batch": lambda: grounder.locate(features, np.arange(batch), text_features),
        "a batch of pairs": pairs,
        **{f"1 image, {n} expressions": lambda n=n: picture(n) for n in (1, 2, 4, 8, 16)},
    }
    times = alternate(tasks, repeats)
    flops = {
        "image": count_flops(encode_image(model)),
        "text": count_flops(encode_text(model)),
        "ground": count_flops(ground(model)),
        "plain, one pair": count_flops(build_plain_mcn(config, model)),
    }
    done = {"image": flops["image"], "ground": flops["ground"]}
    done["whole"] = flops["image"] + flops["text"] + flops["ground"]
    seconds = {
        "image": times["encode a batch"][0],
        "ground": times["ground a batch"][0],
        "whole": times["a batch of pairs"][0],
    }
    gflops = {part: batch * done[part] / seconds[part] / 1e9 for part in done}
    return {
        "seconds": times,
        "batch": batch,
        "images_per_s": batch / seconds["image"],
        "expressions_per_s": batch / seconds["ground"],
        "flops": flops,
        "gflops": gflops,
        "share_of_convolution_ceiling": {
            part: rate / ceiling["best"]["convolution"] for part, rate in gflops.items()
        },
    }


def measure_evaluation(backbone, quick, repeats, folder):
    """(c) A set with seven expressions an image: ours against the published schedule."""
    config = full_size(backbone, quick)
    model = build_mcn(config)
    data = synthetic_set(folder, images=3, expressions=EXPRESSIONS, config=config)
    grounder = Grounder(model, ANCHORS)
    evaluator = Evaluator(
        data.referents, data.words, data.image_path, data.mask_path,
        batch_size=8, workers=2, use_nls=True,
    )  # fmt: skip
    plain = build_plain_mcn(config, model)
    predict = tf.function(lambda image, words: plain({"image": image, "words": words}))
    figures = {}

    def ours():
        figures["ours"] = evaluator.evaluate(grounder, config.word_len)

    def published():
        figures["published"] = evaluate_plainly(
            predict, data.referents, data.words, data.image_path, data.masks, ANCHORS, config
        )

    times = alternate({"ours": ours, "published schedule": published}, repeats)
    difference = max(
        abs(figures["ours"][key] - figures["published"][key])
        for key in ("det_acc", "seg_iou", "overall_iou", "ie_score")
    )
    return {
        "seconds": times,
        "expressions": evaluator.n_expressions,
        "ratio": times["published schedule"][0] / times["ours"][0],
        "largest_difference_of_figures": difference,
    }


def measure_training(backbone, quick, repeats):
    """(d) A training step at batch 8 with the body frozen: features cached, frozen, all trained."""
    batch = 2 if quick else 8
    results, steps = {}, {}
    for name, changes in (
        ("cached features", {"cache_features": 1}),
        ("frozen body", {}),
        ("everything trained", {"free_body": 0}),
    ):
        config = full_size(backbone, quick).replace(batch_size=batch, **changes)
        model = build_mcn(config)
        optimizer = build_optimizer(1e-4)
        optimizer.build(model.trainable_variables)
        size, cells = config.input_size, config.input_size // 8
        visual = {"image": tf.zeros((batch, size, size, 3), tf.uint8)}
        if changes.get("cache_features"):
            inputs = trained_part(model).inputs[:-1]
            visual = {
                f"feature_{k}": tf.random.normal((batch, *tensor.shape[1:]))
                for k, tensor in enumerate(inputs)
            }
        data = {
            **visual,
            "words": tf.random.normal((batch, config.word_len, config.embed_dim)),
            "box_xyxy_px": tf.constant([[10.0, 12.0, 40.0, 50.0]] * batch),
            "mask": tf.zeros((batch, cells, cells, 1), tf.uint8),
        }
        step = make_train_step(tf.distribute.get_strategy(), model, optimizer, ANCHORS, config)
        steps[name] = lambda step=step, data=data: step(data)["loss"].numpy()
    results["seconds"] = alternate(steps, repeats)
    frozen = results["seconds"]["frozen body"][0]
    results["batch"] = batch
    results["cached_over_uncached"] = frozen / results["seconds"]["cached features"][0]
    return results


def measure_memory(quick):
    """(e) Peak memory of an evaluation by the size of the set, each in a process of its own."""
    sizes = (20, 60) if quick else (100, 2000)
    peaks = {str(images): peak_memory(memory_of_evaluation, images) for images in sizes}
    small, large = peaks.values()
    return {"bytes": peaks, "growth": large / small - 1}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small inputs: runs, means nothing")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each (default 5)")
    parser.add_argument("--backbones", nargs="+", default=["darknet", "vgg"])
    parser.add_argument("--output", default="result/bench.json", help="JSON to write")
    arguments = parser.parse_args()
    quick, repeats = arguments.quick, arguments.repeats

    ceiling = measure_ceiling(2 * repeats)
    found = {"ceiling": ceiling, "cores": os.cpu_count(), "quick": quick}
    for backbone in arguments.backbones:
        found[backbone] = {
            "network": measure_network(backbone, quick, repeats, ceiling),
            "peak_bytes_of_one_picture": peak_memory(_one_picture, backbone, quick),
        }
        with tempfile.TemporaryDirectory() as folder:
            found[backbone]["evaluation"] = measure_evaluation(
                backbone, quick, max(repeats // 2, 1), folder
            )
        found[backbone]["training"] = measure_training(backbone, quick, max(repeats // 2, 1))
    found["memory"] = measure_memory(quick)
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))
    print(f"\nWritten to {output}")


def table(found):
    """The measured figures as Markdown."""
    best = found["ceiling"]["best"]
    rows = [
        ("matrix product, best", f"{best['matrix product']:.0f} GFLOP/s"),
        ("3×3 convolution, best", f"{best['convolution']:.0f} GFLOP/s"),
    ]
    for backbone in (name for name in ("darknet", "vgg") if name in found):
        part = found[backbone]
        network, evaluation, training = part["network"], part["evaluation"], part["training"]
        flops = {name: count / 1e9 for name, count in network["flops"].items()}
        seconds, spread = network["seconds"]["1 image, 1 expressions"]
        rows += [
            (f"{backbone}: images encoded", f"{network['images_per_s']:.2f} /s"),
            (f"{backbone}: expressions grounded", f"{network['expressions_per_s']:.2f} /s"),
            (f"{backbone}: one picture, one expression", f"{seconds:.2f} s ± {100 * spread:.0f} %"),
            (
                f"{backbone}: GFLOP image + text + ground (published: a pair)",
                f"{flops['image']:.1f} + {flops['text']:.1f} + {flops['ground']:.1f} "
                f"({flops['plain, one pair']:.1f})",
            ),
            (
                f"{backbone}: rate of image; ground; whole network, batch {network['batch']}",
                "; ".join(f"{rate:.0f}" for rate in network["gflops"].values()) + " GFLOP/s",
            ),
            (
                f"{backbone}: the same as shares of the convolution ceiling",
                "; ".join(
                    f"{100 * share:.0f} %"
                    for share in network["share_of_convolution_ceiling"].values()
                ),
            ),
            (
                f"{backbone}: 1, 2, 4, 8, 16 expressions of an image",
                ", ".join(
                    f"{network['seconds'][f'1 image, {n} expressions'][0]:.2f}"
                    for n in (1, 2, 4, 8, 16)
                )
                + " s",
            ),
            (
                f"{backbone}: evaluation, {EXPRESSIONS} expressions an image",
                f"{evaluation['ratio']:.2f} × the published schedule",
            ),
            (
                f"{backbone}: training step, batch {training['batch']} "
                "(cached; frozen; everything)",
                "; ".join(f"{training['seconds'][name][0]:.2f} s" for name in training["seconds"]),
            ),
            (
                f"{backbone}: step with cached features",
                f"{training['cached_over_uncached']:.2f} × faster than frozen without",
            ),
            (
                f"{backbone}: peak memory, one picture",
                f"{part['peak_bytes_of_one_picture'] / 1e9:.2f} GB",
            ),
        ]
    memory = found["memory"]
    sizes = " and ".join(f"{name} images" for name in memory["bytes"])
    peaks = ", ".join(f"{size / 1e9:.3f} GB" for size in memory["bytes"].values())
    rows.append((f"evaluation, small network: peak memory at {sizes}", peaks))
    lines = ["| measured | median |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {value} |" for name, value in rows])


def _one_picture(backbone, quick):
    config = full_size(backbone, quick)
    grounder = Grounder(build_mcn(config), ANCHORS)
    size = config.input_size
    features = grounder.encode_images(np.zeros((1, size, size, 3), np.uint8))
    words = np.zeros((1, config.word_len, config.embed_dim), np.float32)
    grounder.locate(features, np.zeros(1, np.int32), grounder.encode_words(words))


if __name__ == "__main__":
    main()
