"""What a run computes with: package versions and the revision of the project."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from config.schema import PROJECT_ROOT

PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "Pillow", "spacy")


def versions():
    """What the run computes with: {"python": "3.11.2", "tensorflow": …, "git": …}.

    A package that is not installed and a project without git are None.
    """
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        found[package.lower()] = _package_version(package)
    found["opencv"] = _package_version("opencv-python-headless") or _package_version(
        "opencv-python"
    )
    found["git"] = _git_revision(PROJECT_ROOT)
    return found


def _package_version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision(root):
    """Revision of the repository whose root is `root`, "+" behind it if files were changed."""

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()

    try:
        # A project unpacked inside some other repository has no revision of its own.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != Path(root).resolve():
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
