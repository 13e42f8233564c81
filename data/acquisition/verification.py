"""Whether a downloaded file is the expected one."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from config.files import file_sha256
from data.acquisition.archives import Archive, Download
from data.support.progress import Progress

# Says how a file differs from the expected one, or None.
Examine = Callable[[Path], str | None]


def mismatch_of(path: Path, download: Download, examine: Examine | None) -> str | None:
    """How a file differs from the expected one, or None.

    Args:
        path: an existing file.
        download: what it should be.
        examine: judges a file by its content, if no checksum is known.
    """
    size = path.stat().st_size
    if download.size is not None and size != download.size:
        return f"it has {size:,} bytes instead of {download.size:,}"
    if download.sha256 is not None:
        sha256 = _sha256(path, download.file)
        if sha256 != download.sha256:
            return f"its SHA-256 is {sha256} instead of {download.sha256}"
    elif isinstance(download, Archive):
        if not zipfile.is_zipfile(path):
            return "it is a truncated or damaged zip file"
    elif examine is not None:
        return examine(path)
    return None


def _sha256(path: Path, label: str) -> str:
    with Progress(path.stat().st_size, f"{label}: verify", unit="B") as progress:
        return file_sha256(path, progress.update)
