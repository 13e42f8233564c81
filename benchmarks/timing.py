"""Repetitions that alternate between what is compared, and the memory of a child process."""

import multiprocessing
import re
import statistics
import time
from pathlib import Path


def alternate(tasks, repeats):
    """Times several tasks in turn, so that a drift of the machine meets all of them.

    Args:
        tasks: dict of name → function without arguments; each is called once beforehand.
        repeats: timed calls of each.

    Returns:
        dict of name → (median seconds, spread: half the range over the median).
    """
    for task in tasks.values():
        task()
    seconds = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - started)
    return {
        name: (statistics.median(s), (max(s) - min(s)) / 2 / statistics.median(s))
        for name, s in seconds.items()
    }


def peak_memory(function, *arguments):
    """Peak resident memory in bytes of a fresh process that calls `function(*arguments)`.

    The function is named in a module, since it is started anew there. Linux only: the peak is
    the one of /proc, because getrusage's is inherited from the process that starts another.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_measured, args=(queue, function, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the measured process ended with {process.exitcode}")
    return queue.get()


def _measured(queue, function, arguments):
    function(*arguments)
    kilobytes = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
    queue.put(int(kilobytes) * 1024)
