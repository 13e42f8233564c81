"""What a run computes with: device, package versions, revision of the project, network size.

Commands print `device_line`, `parameters_line` and `settings_line` when they start; training and
evaluation write `versions` beside their results.
"""

import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import subprocess
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from config.quiet import quiet_tensorflow
from config.schema import FIELDS, PROJECT_ROOT, Config
from data.preparation.wording import plural

if TYPE_CHECKING:
    import keras

PACKAGES = (
    "tensorflow", "keras", "numpy", "h5py", "Pillow", "spacy", "onnxruntime", "openvino",
)  # fmt: skip
OPENCV = ("opencv-python-headless", "opencv-python")
GIT_TIMEOUT_S = 10
LINE_WIDTH = 100
CPU_INFO = Path("/proc/cpuinfo")  # Of Linux.
# Instructions, as Linux names them, that compute products in half precision.
HALF_PRECISION = {
    "mixed_bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "mixed_float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}


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


def cpu_instructions() -> set[str] | None:
    """The extensions of the processor, such as "avx512f", as Linux names them; None elsewhere."""
    try:
        found = re.search(r"^(?:flags|Features)\s*: (.*)", CPU_INFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return set(found[1].split()) if found else None


def precision_note(precision: str) -> str | None:
    """Says that TensorFlow has no instructions for a precision here, as far as this is known.

    Args:
        precision: the config key.
    """
    wanted, known = HALF_PRECISION.get(precision), cpu_instructions()
    if wanted is None or known is None or wanted & known or quiet_tensorflow():
        return None
    return (
        f"note: precision={precision}: this processor has no instructions for it, so that it is "
        "slower than float32"
    )


def parameters_line(model: "keras.Model") -> str:
    """Describes the size of a network: "parameters: 30,657,298 trained, 40,620,640 frozen".

    Moving statistics of BatchNorm count as frozen.
    """
    trained, frozen = _count(model.trainable_weights), _count(model.non_trainable_weights)
    return f"parameters: {trained:,} trained, {frozen:,} frozen"


def settings_line(config: Config, keys: Iterable[str]) -> str:
    """Describes the settings that differ from the defaults, as a shell takes them after --set.

    Args:
        config: the settings.
        keys: those to compare, in any order.

    Returns:
        "settings other than the defaults: batch_size=32 lr=0.002", wrapped between settings into
        lines of about `LINE_WIDTH` characters, the later ones indented.
    """
    keys, default = {*keys}, Config()
    changed = [
        shlex.quote(f"{key}={_value_text(getattr(config, key))}")
        for key in FIELDS
        if key in keys and not _equal(key, getattr(config, key), getattr(default, key))
    ]
    # textwrap must not break a setting at its own spaces.
    text = " ".join(setting.replace(" ", "\0") for setting in changed) or "none"
    lines = textwrap.fill(
        f"settings other than the defaults: {text}",
        LINE_WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace("\0", " ")


def shown_path(path: str | os.PathLike) -> str:
    """A path as people write it: relative to the current folder if it is inside, else absolute."""
    try:
        return os.fspath(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):  # Elsewhere, or the current folder was deleted.
        return os.fspath(path)


def _value_text(value: object) -> str:
    if isinstance(value, str):
        return shown_path(value) if value.startswith("/") else value
    return json.dumps(value, separators=(",", ":"))


def _equal(key: str, value: object, default: object) -> bool:
    is_path = FIELDS[key].metadata["path"] and "/" in str(default)
    return value == default or (is_path and Path(str(value)) == PROJECT_ROOT / str(default))


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
    return f"CPU, {plural(threads or 1, 'thread')}"


def _count(weights: "Iterable[keras.Variable]") -> int:
    return sum(math.prod(weight.shape) for weight in weights)
