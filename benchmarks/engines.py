"""Measures engines and precisions side by side: one pair, and an evaluation.

    python benchmarks/engines.py                 # needs two idle cores and 16 GB
    python benchmarks/engines.py --against FILE  # the same, with the times of an earlier --output
    python benchmarks/engines.py --quick         # small inputs, to test that everything runs

Each engine runs in a process of its own, which waits while the others are timed. All load the same
weights, so that their results are compared, too. Prints a table of medians and writes all results
to --output as JSON.
"""

import argparse
import functools
import io
import json
import multiprocessing
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

if not __package__:  # Run as a script: make the packages of the project importable.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# TensorFlow is loaded by the processes that measure: some settings count at that moment.
from benchmarks.timing import alternate, peak_of_process
from config.files import write_text
from config.quiet import assume_constant_weights
from config.schema import PROJECT_ROOT, Config
from utils.environment import CPU_INFO, cpu_instructions, package_versions

Results = dict[str, Any]

IMAGES, EXPRESSIONS_PER_IMAGE = 3, 7  # As in the evaluation sets of RefCOCO.
REFERENCE = "tensorflow float32"
# As Linux names them.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_fp16", "asimd", "bf16")


@dataclass(frozen=True)
class Variant:
    """An engine, a precision, and whether TensorFlow may take the weights as constant."""

    engine: str
    precision: str = "float32"
    constant: bool = True


VARIANTS = {
    REFERENCE: Variant("tensorflow"),
    "tensorflow float32, weights that may change": Variant("tensorflow", constant=False),
    "tensorflow bfloat16": Variant("tensorflow", "mixed_bfloat16"),
    "onnxruntime float32": Variant("onnxruntime"),
    "openvino float32": Variant("openvino"),
    "openvino bfloat16": Variant("openvino", "mixed_bfloat16"),
}


def measure_engines(names: Sequence[str], backbone: str, quick: bool, repeats: int) -> Results:
    """Times the variants in turn.

    Args:
        names: keys of `VARIANTS`; the first one is what the others are compared with.
        backbone: config key.
        quick: scale the network down.
        repeats: number of timed calls per variant and task.

    Returns:
        For each variant its "start" (seconds until the first pair, conversion included at its first
        use), "pair" and "expression" (median in seconds, spread), "peak_bytes", and the largest
        differences of box in pixels and mask probability from the first one.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        writer = context.Process(target=_write_weights, args=(folder, backbone, quick))
        writer.start()
        writer.join()
        results: dict[str, Results] = {}
        calls: dict[str, Callable[[str], Any]] = {}
        for name in names:
            arguments = (folder, VARIANTS[name], backbone, quick)
            started = time.perf_counter()
            calls[name] = stack.enter_context(_process(arguments))
            calls[name]("pair")
            results[name] = {"start": time.perf_counter() - started}
        for task, pairs in (("pair", 1), ("expression", IMAGES * EXPRESSIONS_PER_IMAGE)):
            turns = {name: functools.partial(call, task) for name, call in calls.items()}
            for name, (seconds, spread) in alternate(turns, repeats).items():
                results[name][task] = seconds / pairs, spread
        answers = {name: call("answer") for name, call in calls.items()}
        box, mask = answers[names[0]]
        for name, (other_box, other_mask) in answers.items():
            results[name]["box_px"] = float(abs(other_box - box).max())
            results[name]["mask"] = float(abs(other_mask - mask).max())
            results[name]["peak_bytes"] = calls[name]("peak")
    return results


@contextmanager
def _process(arguments: tuple[object, ...]) -> Iterator[Callable[[str], Any]]:
    """Starts a process that measures, and yields a function that lets it do a task."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()

    def call(task):
        ours.send(task)
        return ours.recv()  # EOFError if the process has failed, which has printed why.

    try:
        yield call
    finally:
        ours.close()
        process.join()


def _serve(
    connection: Connection, folder: str, variant: Variant, backbone: str, quick: bool
) -> None:
    """Does the tasks whose names arrive, until the connection is closed."""
    if variant.constant:
        assume_constant_weights()
    import numpy as np

    from benchmarks.sets import synthetic_set
    from utils.prediction.grounder import load_grounder

    config = _config(folder, backbone, quick)
    grounder = load_grounder(config, engine=variant.engine, precision=variant.precision)
    size = config.input_size
    pixels = np.random.default_rng(0).integers(0, 255, (1, size, size, 3), np.uint8)
    words = np.random.default_rng(1).normal(size=(1, config.word_len, config.embed_dim))
    words, rows = words.astype(np.float32), np.zeros(1, np.int32)

    def pair():
        features = grounder.encode_images(pixels)
        return grounder.locate(features, rows, grounder.encode_words(words))

    with tempfile.TemporaryDirectory() as images:
        evaluator = synthetic_set(images, IMAGES, EXPRESSIONS_PER_IMAGE, config).evaluator()
        tasks = {
            "pair": lambda: pair() and None,
            "expression": lambda: evaluator.evaluate(grounder, config.word_len) and None,
            "answer": lambda: (np.asarray(pair()[0]), np.asarray(pair()[3])),
            "peak": peak_of_process,
        }
        # The evaluation shows a bar.
        with suppress(EOFError), redirect_stderr(io.StringIO()):
            while True:
                connection.send(tasks[connection.recv()]())


def _config(folder: str, backbone: str, quick: bool) -> Config:
    from benchmarks.sets import benchmark_config

    config = benchmark_config(backbone, quick)
    return config.replace(
        evaluate_model=str(Path(folder) / "random.weights.h5"),
        anchors_file=str(PROJECT_ROOT / config.anchors_file),
    )


def _write_weights(folder: str, backbone: str, quick: bool) -> None:
    """Writes the weights that all processes read."""
    from model.mcn import build_mcn
    from model.weights import save_weights

    config = _config(folder, backbone, quick)
    save_weights(build_mcn(config), config.evaluate_model)


def machine() -> Results:
    """The processor, its instructions for half precision and long vectors, and its threads."""
    text = CPU_INFO.read_text() if CPU_INFO.exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    known = cpu_instructions() or set()
    return {
        "processor": model[1] if model else platform.processor(),
        "instructions": [name for name in INSTRUCTIONS if name in known],
        "threads": os.cpu_count(),
    }


def format_table(results: Results, earlier: Results | None = None) -> str:
    """Formats the results as a Markdown table.

    Args:
        results: what `main` writes.
        earlier: of another run, whose times stand in parentheses; None for none.
    """
    lines = [
        "| | one pair, ms | evaluation, ms per expression | until the first pair, s | memory, GB | "
        "largest difference of box, pixels | of mask probability |",
        "|---|---|---|---|---|---|---|",
    ]
    before = earlier["variants"] if earlier else {}
    for name, found in results["variants"].items():
        cells = [name]
        for key in ("pair", "expression"):
            seconds, spread = found[key]
            former = f" ({1000 * before[name][key][0]:.0f})" if name in before else ""
            cells.append(f"{1000 * seconds:.0f}{former} ± {100 * spread:.0f} %")
        cells += [f"{found['start']:.1f}", f"{found['peak_bytes'] / 1e9:.2f}"]
        cells += [f"{found['box_px']:.3f}", f"{found['mask']:.5f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small inputs; the times mean nothing")
    parser.add_argument("--repeats", type=int, default=10, help="timed calls (default: 10)")
    parser.add_argument("--backbone", default="darknet", help="default: darknet")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS], help="default: all"
    )
    parser.add_argument("--against", metavar="FILE", help="an earlier --output to show beside it")
    parser.add_argument(
        "--output", default="result/engines.json", metavar="FILE",
        help="JSON file to write (default: result/engines.json)",
    )  # fmt: skip
    options = parser.parse_args()
    earlier = json.loads(Path(options.against).read_text()) if options.against else None
    found = measure_engines(options.variants, options.backbone, options.quick, options.repeats)
    results = {
        "machine": machine(), "versions": package_versions(), "quick": options.quick,
        "backbone": options.backbone, "variants": found,
    }  # fmt: skip
    write_text(options.output, json.dumps(results, indent=2) + "\n")
    where = results["machine"]
    instructions = " ".join(where["instructions"]) or "none"
    print(f"{where['processor']}, {where['threads']} threads; instructions: {instructions}")
    print(format_table(results, earlier))
    print(f"\nResults are in {options.output}")


if __name__ == "__main__":
    main()
