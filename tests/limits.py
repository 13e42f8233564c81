"""Limits that tests set: a disk that fills up, and memory that must not grow."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted_disk(path: Path, size_bytes: int) -> Iterator[Path]:
    """Mounts a disk of `size_bytes` at the folder `path`; skips the test where that is refused."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk of limited size cannot be mounted here; run as root on Linux")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def memory_within(bytes_more: int) -> Iterator[None]:
    """Fails if the resident memory of this process ever grows by more than `bytes_more` inside."""
    clear = Path("/proc/self/clear_refs")
    if not os.access(clear, os.W_OK):
        pytest.skip("the peak of the memory cannot be measured here; run on Linux")
    before = resident_bytes()
    clear.write_text("5")  # Resets the peak, VmHWM.
    yield
    grown = _status_bytes("VmHWM") - before
    assert grown <= bytes_more, f"memory grew by {grown / 1e6:.0f} MB"


def resident_bytes() -> int:
    """Resident memory of this process."""
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)
