"""Starts several processes of train.py on this machine that train together, and ends them together.

    python -m utils.training.launch --workers 4 --config config/config.json
    python -m utils.training.launch --workers 2 --config config/demo.json --set batch_size=8

All other arguments are those of train.py, which it is started with, and distribute=multiworker. On
a machine with GPUs, each process has an equal share of them. A signal to stop is passed on. If one
process fails, the others end, too, within a minute.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import FrameType

from config.command_line import add_config_arguments, run
from config.errors import UserError
from config.schema import PROJECT_ROOT
from config.signals import STOPPING

# How long the others may take to notice that a process has failed, and to end by themselves.
GRACE_S = 60.0
POLL_S = 0.1
RESUME_HINT = "Run the same command to resume where it stopped."


def main() -> int:
    parser = add_config_arguments(argparse.ArgumentParser(description=__doc__))
    parser.add_argument(
        "--workers", type=int, required=True, metavar="N", help="number of processes"
    )
    arguments, others = parser.parse_known_args()
    settings = ["--config", arguments.config, "--set", *arguments.overrides]
    return launch(arguments.workers, [*others, *settings, "distribute=multiworker"])


def launch(workers: int, arguments: Sequence[str]) -> int:
    """Trains in several processes of this machine.

    Args:
        workers: their number, at least 1.
        arguments: of train.py, among them distribute=multiworker.

    Returns:
        The exit code of the first process that failed, or 0.

    Raises:
        UserError: there are fewer GPUs than processes, or no process to start.
    """
    if workers < 1:
        raise UserError(f"--workers {workers}: must be at least 1")
    command = [sys.executable, str(PROJECT_ROOT / "train.py"), *arguments]
    environments = worker_environments(workers, os.environ, gpu_names())
    processes: list[subprocess.Popen] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def end_all() -> None:
        for process in processes:
            process.kill()  # Does nothing to one that has ended.
            process.wait()

    with ExitStack() as on_exit:
        # What this process was told to ignore, such as SIGHUP by nohup, the others ignore, too.
        for number in STOPPING:
            if signal.getsignal(number) is signal.SIG_IGN:
                continue
            on_exit.callback(signal.signal, number, signal.signal(number, pass_on))
        on_exit.callback(end_all)  # Also where one of them could not be started.
        for environment in environments:
            # In a group of its own, a process hears of Ctrl-C once: from here.
            processes.append(subprocess.Popen(command, env=environment, process_group=0))
        return _joint_exit_code(processes)


def worker_environments(
    workers: int, environment: Mapping[str, str], gpus: Sequence[str]
) -> list[dict[str, str]]:
    """The environment variables of each process.

    Args:
        workers: number of processes.
        environment: variables that all of them have.
        gpus: the GPUs of this machine as CUDA_VISIBLE_DEVICES names them; empty if it has none.

    Raises:
        UserError: there are GPUs, but fewer than processes.
    """
    if gpus and len(gpus) % workers:
        raise UserError(
            f"--workers {workers}: each process needs as many GPUs as the others, and there are "
            f"{len(gpus)}; choose another number, or fewer GPUs with CUDA_VISIBLE_DEVICES"
        )
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    share = len(gpus) // workers
    return [
        {
            **environment,
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            ),
            **(
                {"CUDA_VISIBLE_DEVICES": ",".join(gpus[index * share : (index + 1) * share])}
                if gpus
                else {}
            ),
        }
        for index in range(workers)
    ]


def gpu_names() -> list[str]:
    """The GPUs that processes of this machine may use, as CUDA_VISIBLE_DEVICES names them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that no process listens on."""
    with ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]


def _joint_exit_code(processes: Sequence[subprocess.Popen]) -> int:
    """Waits until all processes have ended, or for `GRACE_S` after one of them has failed."""
    failed, deadline = 0, float("inf")
    while any(process.poll() is None for process in processes):
        codes = [process.poll() for process in processes]
        if not failed and (failed := next(filter(None, codes), 0)):
            deadline = time.monotonic() + GRACE_S
        if time.monotonic() > deadline:
            break  # The caller ends the others.
        time.sleep(POLL_S)
    failed = failed or next((code for process in processes if (code := process.wait())), 0)
    return failed if failed >= 0 else 128 - failed


if __name__ == "__main__":
    run(main, RESUME_HINT)
