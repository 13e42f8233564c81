"""Imports TensorFlow without its start-up messages and says in one sentence if there is no GPU.

Most of these messages are written by native code before TF_CPP_MIN_LOG_LEVEL takes effect, so
standard error is captured at the level of the file descriptor while TensorFlow loads.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Severity and text of a log line: "E0000 00:00:1732.5 42 cuda_dnn.cc:8579] text", or with a date
# "2025-01-31 12:00:00.5: E external/xla/cuda_dnn.cc:8579] text".
LOG_LINE = re.compile(
    r"(?:(?P<absl>[IWEF])\d{4} \S+ +\d+ |\d{4}-\d\d-\d\d \S+: (?P<dated>[IWEF]) )\S+:\d+\] "
)
# Harmless warnings and errors that every start of TensorFlow may write, or parts of them.
CHATTER = re.compile(
    r"All log messages before absl::InitializeLog"
    r"|To enable the following instructions"
    r"|Unable to register cu\w+ factory"
    r"|computation placer already registered"
    r"|NUMA node"
    r"|TF-TRT Warning"
    r"|Skipping registering GPU devices"
)
# Why TensorFlow sees no GPU.
GPU_FAILURE = re.compile(
    r"Could not find cuda drivers on your machine"
    r"|Could not load dynamic library [^;]+"
    r"|Cannot dlopen some GPU libraries"
    r"|failed call to cuInit: .+"
)


CONSTANT_WEIGHTS = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"


def assume_constant_weights() -> None:
    """Lets TensorFlow arrange weights once for its fastest kernels, instead of in every call.

    For processes that load weights before they use them, and never change them: changes would not
    be seen. It holds for the whole process and must be called before TensorFlow is loaded.
    """
    os.environ.setdefault(CONSTANT_WEIGHTS, "1")


def expect_changing_weights() -> None:
    """Undoes `assume_constant_weights`, also that of a user: a training would not see its updates.

    It must be called before TensorFlow is loaded.
    """
    os.environ.pop(CONSTANT_WEIGHTS, None)


def quiet_tensorflow() -> list[str]:
    """Imports TensorFlow quietly and enables memory growth on all GPUs.

    Call it before anything else imports TensorFlow; if TensorFlow is loaded already, there is
    nothing to silence. Known start-up messages are dropped, all others are passed on. If TensorFlow
    sees no GPU, one sentence on standard error says that, as a warning if there seems to be one.
    The environment variable MCN_VERBOSE=1 shows all messages of TensorFlow instead.

    Returns:
        Names of the GPUs that TensorFlow can use; empty if it runs on the CPU.
    """
    if "tensorflow" in sys.modules:
        return _gpu_names()
    if os.environ.get("MCN_VERBOSE"):
        return _gpu_names()
    # Informative messages at run time; this must be set before TensorFlow is loaded.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    lines: list[str] = []
    try:
        with _captured_stderr(lines):
            names = _gpu_names()
    finally:
        for line in lines:
            if not is_chatter(line):
                print(line, file=sys.stderr)
    if not names:
        print(f"{why_no_gpu(lines)}: running on the CPU", file=sys.stderr)
    return names


def is_chatter(line: str) -> bool:
    """Whether a line of standard error is one of TensorFlow's start-up messages."""
    match = LOG_LINE.match(line)
    informative = match is not None and "I" in (match["absl"], match["dated"])
    return informative or bool(CHATTER.search(line) or GPU_FAILURE.search(line))


def why_no_gpu(lines: Sequence[str]) -> str:
    """Explains in half a sentence why TensorFlow sees no GPU.

    Args:
        lines: what it wrote to standard error while it was loaded.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides all GPUs"
    device_files = [*Path("/dev").glob("nvidia[0-9]*")]
    if not (visible or device_files or shutil.which("nvidia-smi")):
        return "no GPU found"
    failures = [match[0] for line in lines if (match := GPU_FAILURE.search(line))]
    reason = failures[0] if failures else "MCN_VERBOSE=1 shows its messages"
    return f"warning: TensorFlow cannot use the GPU ({reason})"


def _gpu_names() -> list[str]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # Otherwise each process takes all memory of all GPUs.
        with suppress(RuntimeError):  # Too late to change: the GPU is in use.
            tf.config.experimental.set_memory_growth(gpu, True)
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return [known.get("device_name", gpu.name) for gpu, known in zip(gpus, details, strict=True)]


@contextmanager
def _captured_stderr(lines: list[str]) -> Iterator[None]:
    """Appends to `lines` what is written to file descriptor 2, also by native code."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines.extend(file.read().decode("utf-8", "replace").splitlines())
