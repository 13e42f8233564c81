"""What a run computes with: device, package versions, revision of the project, network size.

Commands print `device_line` and `parameters_line` when they start; training and evaluation write
`versions` beside their results.
"""

import importlib.metadata
import math
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from config.quiet import quiet_tensorflow
from config.schema import PROJECT_ROOT

if TYPE_CHECKING:
    import keras

PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "Pillow", "spacy")
OPENCV = ("opencv-python-headless", "opencv-python")
GIT_TIMEOUT_S = 10


def versions() -> dict[str, str | None]:
    """Returns the software and hardware of a run: {"python": "3.11.2", "device": "CPU, …", …}.

    The value is None for a package that is not installed, and for "git" if the project is not a
    git repository.
    """
    return {"device": _device(), **package_versions()}


def package_versions() -> dict[str, str | None]:
    """The `versions` without the device; TensorFlow is not imported."""
    packages = {package.lower(): _package_version(package) for package in PACKAGES}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **packages,
        "opencv": next(filter(None, map(_package_version, OPENCV)), None),
        "git": git_revision(PROJECT_ROOT),
    }


def device_line() -> str:
    """Describes the devices that TensorFlow uses: "device: CPU, 8 threads" or the GPUs' names."""
    return f"device: {_device()}"


def parameters_line(model: "keras.Model") -> str:
    """Describes the size of a network: "parameters: 30,657,298 trained, 40,620,640 frozen".

    Moving statistics of BatchNorm count as frozen.
    """
    trained, frozen = _count(model.trainable_weights), _count(model.non_trainable_weights)
    return f"parameters: {trained:,} trained, {frozen:,} frozen"


def git_revision(root: str | os.PathLike) -> str | None:
    """Returns the commit of the repository at `root`.

    A trailing "+" marks uncommitted changes. None if git is not installed or `root` is not the
    root of a repository: a project unpacked inside another repository has no revision.
    """

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != Path(root).resolve():
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> str:
    gpus = Counter(quiet_tensorflow())
    if gpus:
        return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in gpus.items())
    # TensorFlow starts one thread per CPU that the process may use.
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {threads} threads"


def _count(weights: "Iterable[keras.Variable]") -> int:
    return sum(math.prod(weight.shape) for weight in weights)
