"""Measures how the cost grows: with expressions, sizes of input, batch and set, and with threads.

    python benchmarks/scaling.py              # about 10 minutes on two idle cores
    python benchmarks/scaling.py --quick      # small inputs, to test that everything runs

Float32, Darknet-53. Draws a plot of each quantity, prints the numbers and writes them as JSON.
"""

import argparse
import functools
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

if not __package__:  # Run as a script: make the packages of the project importable.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks.records import (
    BENCHMARKS_README,
    Figure,
    add_record_argument,
    machine_line,
    machine_name,
    parsed,
    record,
)
from benchmarks.timing import alternate, peak_memory
from config.files import write_text
from config.quiet import assume_constant_weights
from utils.visualization.curves import draw_panels_of_lines
from utils.visualization.png import save_png

# Quantity → value of it → median in seconds, or bytes for the memory.
Results = dict[str, dict[int, float]]

# What grows, by the title of its plot.
QUANTITIES = {
    "expressions": "Expressions of one image, s",
    "input_size": "Side of the input in pixels, one pair, s",
    "batch": "Pairs at once, s",
    "images": "Images of a set, scaled-down network, s",
    "memory": "Images of a set, scaled-down network, GB",
    "threads": "Threads, one pair, s",
}
COUNTS = {
    "expressions": (1, 2, 4, 8, 16), "input_size": (224, 320, 416, 512, 608),
    "batch": (1, 2, 4, 8, 16), "images": (100, 200, 400, 800), "threads": (1, 2),
}  # fmt: skip
QUICK_COUNTS = {
    "expressions": (1, 2), "input_size": (96, 128), "batch": (1, 2), "images": (10, 20),
    "threads": (1, 2),
}  # fmt: skip


def measure_scaling(quick: bool, repeats: int) -> Results:
    """Measures all quantities.

    Args:
        quick: scale the network and the counts down.
        repeats: number of timed calls per point.

    Returns:
        The points of each key of `QUANTITIES`.
    """
    counts = QUICK_COUNTS if quick else COUNTS
    locate = functools.partial(_locate, _grounder(quick))
    with tempfile.TemporaryDirectory() as folder:
        times = {
            "expressions": {n: functools.partial(locate, 1, n) for n in counts["expressions"]},
            "batch": {n: functools.partial(locate, n, n) for n in counts["batch"]},
            "input_size": {
                n: functools.partial(_locate, _grounder(quick, n), 1, 1)
                for n in counts["input_size"]
            },
            "images": {n: _evaluation(Path(folder, str(n)), n) for n in counts["images"]},
        }
        results = {name: _medians(tasks, repeats) for name, tasks in times.items()}
    results["memory"] = {
        n: peak_memory(_evaluate, n) / 1e9 for n in (counts["images"][0], counts["images"][-1])
    }
    results["threads"] = {
        n: _in_process(_pair_with_threads, n, quick, repeats) for n in counts["threads"]
    }
    return {name: results[name] for name in QUANTITIES}


def _medians(tasks: Mapping[int, Callable[[], object]], repeats: int) -> dict[int, float]:
    times = alternate({str(n): task for n, task in tasks.items()}, repeats)
    return {n: times[str(n)][0] for n in tasks}


def _grounder(quick: bool, input_size: int | None = None):
    from benchmarks.sets import ANCHORS_PX, benchmark_config
    from model.mcn import build_mcn
    from utils.prediction.grounder import Grounder

    config = benchmark_config("darknet", quick)
    if input_size is not None:
        config = config.replace(input_size=input_size)
    return Grounder(build_mcn(config), ANCHORS_PX)


def _locate(grounder, images: int, expressions: int) -> None:
    """Grounds expressions, the first of them in the first image and so on."""
    size, words = grounder.input_size, grounder.model.input["words"].shape[1:]
    features = grounder.encode_images(np.zeros((images, size, size, 3), np.uint8))
    text = grounder.encode_words(np.zeros((expressions, *words), np.float32))
    grounder.locate(features, np.arange(expressions) % images, text)


def _evaluation(folder: Path, images: int) -> Callable[[], object]:
    from benchmarks.sets import benchmark_config, synthetic_set

    folder.mkdir()
    config, grounder = benchmark_config("darknet", quick=True), _grounder(quick=True)
    evaluator = synthetic_set(folder, images, 2, config).evaluator()
    return lambda: evaluator.evaluate(grounder, config.word_len)


def _evaluate(images: int) -> None:
    from benchmarks.sets import evaluate_small_network

    evaluate_small_network(images)


def _pair_with_threads(threads: int, quick: bool, repeats: int) -> float:
    """Median time of one pair, in a process that has used no threads yet."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    task = functools.partial(_locate, _grounder(quick), 1, 1)
    return alternate({"pair": task}, repeats)["pair"][0]


def _in_process(function: Callable[..., float], *arguments: object) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def format_table(results: Results) -> str:
    """Formats the points as a Markdown table."""
    lines = ["| | |", "|---|---|"]
    for name, title in QUANTITIES.items():
        points = ", ".join(f"{n}: {value:.3g}" for n, value in results[name].items())
        lines.append(f"| {title} | {points} |")
    return "\n".join(lines)


def figures(results: Results) -> list[Figure]:
    """The points as rows for `benchmarks.records.record`."""
    return [
        Figure(f"{name}, {n}", value, "GB" if name == "memory" else "s")
        for name, points in results.items()
        for n, value in points.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small inputs; the times mean nothing")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls (default: 5)")
    parser.add_argument(
        "--output", default="result/scaling.json", metavar="FILE",
        help="JSON file to write, with the plots beside it (default: result/scaling.json)",
    )  # fmt: skip
    add_record_argument(parser)
    options = parsed(parser)
    assume_constant_weights()
    results = measure_scaling(options.quick, options.repeats)
    write_text(options.output, json.dumps(results, indent=2) + "\n")
    plots = draw_panels_of_lines(
        {QUANTITIES[name]: {"": [*points.items()]} for name, points in results.items()},
        from_zero=True,
    )
    save_png(Path(options.output).with_suffix(".png"), plots)
    table = format_table(results)
    print(f"{machine_line()}\n{table}\n\nResults are in {options.output}; plots beside it")
    if options.record:
        picture = f"{machine_name()}.png"
        content = f"{machine_line()}:\n\n{table}\n\n![Plots of these figures](results/{picture})"
        path = record("scaling", figures(results), {BENCHMARKS_README: content})
        save_png(path.with_name(picture), plots)


if __name__ == "__main__":
    main()
