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
from benchmarks import EXPRESSIONS_PER_IMAGE
from benchmarks.records import (
    BENCHMARKS_README,
    README,
    Figure,
    add_record_argument,
    machine,
    machine_line,
    parsed,
    record,
)
from benchmarks.timing import alternate
from config.files import write_text
from config.quiet import assume_constant_weights
from config.schema import PROJECT_ROOT, Config
from utils.environment import package_versions

Results = dict[str, Any]

IMAGES, EXPRESSIONS = 3, 8
REFERENCE, PLAIN = "tensorflow float32", "plain"
# Tasks that are timed, as columns of the table, and how often they contain what is reported.
TASKS = {
    "pair": ("one pair, ms", 1),
    "image": ("its image, ms", 1),
    "expressions": (f"{EXPRESSIONS} expressions of an image, ms each", EXPRESSIONS),
    "evaluation": ("evaluation, ms per expression", IMAGES * EXPRESSIONS_PER_IMAGE),
}


@dataclass(frozen=True)
class Variant:
    """An engine, a precision, and whether TensorFlow may take the weights as constant.

    The engine `PLAIN` is our own plain reimplementation of the published order of work.
    """

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
    "published order of work, our own plain reimplementation": Variant(PLAIN, constant=False),
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
        use), the keys of `TASKS` (median in seconds, spread) as far as it has them, "peak_bytes",
        and the largest differences of box in pixels and mask probability from the first one.
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
        for task, (_, count) in TASKS.items():
            turns = {
                name: functools.partial(call, task)
                for name, call in calls.items()
                if VARIANTS[name].engine != PLAIN or task in ("pair", "evaluation")
            }
            for name, (seconds, spread) in alternate(turns, repeats).items():
                results[name][task] = seconds / count, spread
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
    from benchmarks.engine_tasks import engine_tasks, plain_tasks
    from benchmarks.sets import synthetic_set

    config = _config(folder, backbone, quick)
    with tempfile.TemporaryDirectory() as images:
        data = synthetic_set(images, IMAGES, EXPRESSIONS_PER_IMAGE, config)
        of_variant = plain_tasks if variant.engine == PLAIN else engine_tasks
        tasks = of_variant(config, variant.engine, variant.precision, data, EXPRESSIONS)
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


def format_table(results: Results, earlier: Results | None = None) -> str:
    """Formats the results as a Markdown table.

    Args:
        results: what `main` writes.
        earlier: of another run, whose times stand in parentheses; None for none.
    """
    heads = [head for head, _ in TASKS.values()]
    heads += ["until the first pair, s", "memory, GB", "largest difference of box, pixels"]
    lines = [f"| | {' | '.join(heads)} | of mask probability |", "|---" * (len(heads) + 2) + "|"]
    before = earlier["variants"] if earlier else {}
    for name, found in results["variants"].items():
        cells = [name]
        for task in TASKS:
            if task not in found:
                cells.append("–")
                continue
            seconds, spread = found[task]
            known = task in before.get(name, {})
            former = f" ({1000 * before[name][task][0]:.0f})" if known else ""
            cells.append(f"{1000 * seconds:.0f}{former} ± {100 * spread:.0f} %")
        cells += [f"{found['start']:.1f}", f"{found['peak_bytes'] / 1e9:.2f}"]
        cells += [f"{found['box_px']:.3f}", f"{found['mask']:.5f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def short_table(results: Results) -> str:
    """The two times that users wait for, for the README, and how many times as fast they are."""
    lines = ["| | one image and expression | evaluation, per expression |", "|---|---|---|"]
    reference = results["variants"][REFERENCE]
    for name, found in results["variants"].items():
        if VARIANTS[name].engine != "tensorflow" or VARIANTS[name].constant:
            cells = (
                f"{1000 * found[task][0]:.0f} ms ({reference[task][0] / found[task][0]:.2f} ×)"
                for task in ("pair", "evaluation")
            )
            lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def figures(results: Results) -> list[Figure]:
    """The results as rows for `benchmarks.records.record`."""
    rows = []
    for name, found in results["variants"].items():
        rows += [
            Figure(f"{name}: {task}", found[task][0], "s", found[task][1])
            for task in TASKS
            if task in found
        ]
        rows.append(Figure(f"{name}: until the first pair", found["start"], "s"))
        rows.append(Figure(f"{name}: peak memory", found["peak_bytes"], "bytes"))
    return rows


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
    add_record_argument(parser)
    options = parsed(parser)
    earlier = json.loads(Path(options.against).read_text()) if options.against else None
    found = measure_engines(options.variants, options.backbone, options.quick, options.repeats)
    results = {
        "machine": machine(), "versions": package_versions(), "quick": options.quick,
        "backbone": options.backbone, "variants": found,
    }  # fmt: skip
    write_text(options.output, json.dumps(results, indent=2) + "\n")
    print(f"{machine_line()}\n{format_table(results, earlier)}\n\nResults are in {options.output}")
    if options.record:
        tables = {
            BENCHMARKS_README: f"{machine_line()}:\n\n{format_table(results)}",
            README: f"{machine_line()}:\n\n{short_table(results)}",
        }
        record("engines", figures(results), tables)


if __name__ == "__main__":
    main()
