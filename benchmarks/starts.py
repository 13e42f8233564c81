"""Measures how long each command takes until its first answer, with the carried demo network.

    python benchmarks/starts.py                # about 3 minutes on two idle cores

Warm: the files have just been read. Cold: the system has forgotten all files, which only root can
ask it for. `make demo` prepares the data of test.py and train.py, which are left out without it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

if not __package__:  # Run as a script: make the packages of the project importable.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.records import (
    BENCHMARKS_README,
    Figure,
    add_record_argument,
    machine_line,
    record,
)
from config.files import write_text
from config.schema import PROJECT_ROOT

CACHES = Path("/proc/sys/vm/drop_caches")
DEMO = PROJECT_ROOT / "data" / "demo"
PORT, TIMEOUT_S = 7869, 300
PAGE = "predict.py --serve, until the page answers"

Seconds = dict[str, list[float]]


def commands(folder: str) -> dict[str, list[str]]:
    """The commands by what is measured, which write to a folder."""
    scene = "data/demo_model/scenes/scene_1.jpg"
    found = {
        "predict.py, one picture and expression": [
            "predict.py", "--image", scene, "--expression", "the big green disk",
            "--output", f"{folder}/predict",
        ],
        PAGE: ["predict.py", "--serve", "--port", str(PORT)],
    }  # fmt: skip
    if DEMO.is_dir():
        few = Path(folder) / "few.txt"
        lines = (DEMO / "anns" / "refcoco" / "val.txt").read_text(encoding="utf-8").splitlines()
        few.write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")
        found |= {
            "test.py, two referents": [
                "test.py", "--weights", "data/demo_model/mcn.weights.h5", "--output",
                f"{folder}/test", "--overwrite", "--set", f"evaluate_set={few}",
                f"seg_gt_path={DEMO}/masks/refcoco", f"image_path={DEMO}/raw/images/train2014",
            ],
            "train.py --dry-run": ["train.py", "--config", "config/demo.json", "--dry-run"],
        }  # fmt: skip
    return found


def measure_starts(repeats: int) -> dict[str, Seconds]:
    """Times the commands.

    Args:
        repeats: number of runs of each command, warm and cold.

    Returns:
        {"warm": {command: seconds of each run}, "cold": …}, the latter without entries if the
        system does not let this process empty its caches.
    """
    cold = os.access(CACHES, os.W_OK)
    times: dict[str, Seconds] = {"warm": {}, "cold": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands(folder).items():
            _seconds(name, command)  # Now all files are in memory.
            times["warm"][name] = [_seconds(name, command) for _ in range(repeats)]
            if cold:
                times["cold"][name] = [_cold_seconds(name, command) for _ in range(repeats)]
    return times


def _cold_seconds(name: str, command: Sequence[str]) -> float:
    os.sync()
    CACHES.write_text("3\n")
    return _seconds(name, command)


def _seconds(name: str, command: Sequence[str]) -> float:
    """Runs a command to its end, or to the answer of its page."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=PROJECT_ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if name == PAGE:
        _wait_for_page(process)
        seconds = time.perf_counter() - started
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)
        return seconds
    output, _ = process.communicate(timeout=TIMEOUT_S)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {output}")
    return time.perf_counter() - started


def _wait_for_page(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}/") as answer:
            answer.read()
            return
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"the page did not answer: {process.communicate()[0]}")


def format_table(times: Mapping[str, Seconds]) -> str:
    """Formats the median of each command as a Markdown table."""
    lines = ["| | warm, s | cold, s |", "|---|---|---|"]
    for name in times["warm"]:
        cells = (
            f"{sorted(runs)[len(runs) // 2]:.1f}" if (runs := times[kind].get(name)) else "–"
            for kind in ("warm", "cold")
        )
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each command (default: 3)")
    parser.add_argument(
        "--output", default="result/starts.json", metavar="FILE",
        help="JSON file to write (default: result/starts.json)",
    )  # fmt: skip
    add_record_argument(parser)
    options = parser.parse_args()
    times = measure_starts(options.repeats)
    write_text(options.output, json.dumps(times, indent=2) + "\n")
    table = format_table(times)
    print(f"{machine_line()}\n{table}\n\nResults are in {options.output}")
    if options.record:
        rows = [
            Figure(f"{name}, {kind}", sorted(runs)[len(runs) // 2], "s")
            for kind, commands_of in times.items()
            for name, runs in commands_of.items()
        ]
        record("starts", rows, {BENCHMARKS_README: f"{machine_line()}:\n\n{table}"})


if __name__ == "__main__":
    main()
