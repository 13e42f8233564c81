"""A replacement by `data.support.staging` that ends by `kill -9` in the middle of its renames."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# The note and, for each target, the former one and the new one are renamed.
SCRIPT = """
import os, shutil, signal, sys
from pathlib import Path
from data.support.staging import replaced_together

at, rename = int(sys.argv[1]), os.rename
def counted(*paths):
    global at
    at -= 1
    if at == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*paths)

paths = list(map(Path, sys.argv[2:]))
sources, targets = paths[: len(paths) // 2], paths[len(paths) // 2 :]
with replaced_together(*targets, is_ours=lambda *_: True) as staged:
    for source, new in zip(sources, staged):
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, new)
    os.rename = counted
"""


def replace_and_be_killed(sources: Sequence[Path], targets: Sequence[Path], at: int) -> None:
    """Replaces targets by copies of sources; the process is killed at its rename number `at`."""
    command = [sys.executable, "-c", SCRIPT, str(at), *map(str, (*sources, *targets))]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
