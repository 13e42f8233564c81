"""Timing of tasks in alternation, and the peak memory of a child process."""

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.queues import SimpleQueue
from pathlib import Path


def alternate(
    tasks: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, tuple[float, float]]:
    """Times several tasks in turn, so that changes in the load of the machine affect all of them.

    Args:
        tasks: functions by name; each is called once before the timing starts.
        repeats: number of timed calls per task.

    Returns:
        For each task (median in seconds, spread): the spread is half the range divided by the
        median.
    """
    for task in tasks.values():
        task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - started)
    return {
        name: (statistics.median(s), (max(s) - min(s)) / 2 / statistics.median(s))
        for name, s in seconds.items()
    }


def peak_memory(function: Callable[..., object], *arguments: object) -> int:
    """Measures the peak resident memory of a new process that calls `function(*arguments)`.

    Linux only: the value comes from /proc, since a child process inherits the maximum that
    getrusage reports.

    Args:
        function: a function of a module, which the new process imports.
        *arguments: its arguments.

    Returns:
        Bytes.

    Raises:
        RuntimeError: the process failed.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_call_and_measure, args=(queue, function, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the measured process failed with exit code {process.exitcode}")
    return queue.get()


def _call_and_measure(
    queue: SimpleQueue, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    function(*arguments)
    queue.put(peak_of_process())


def peak_of_process() -> int:
    """The peak resident memory of this process in bytes; Linux only."""
    kilobytes = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
    return int(kilobytes) * 1024
