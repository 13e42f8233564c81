"""Fetching one file over HTTP: goes on where it stopped, checks what came, tries mirrors in order.

The bytes lie in `<file>.part` until all of them are there and the check is passed;
`<file>.part.json` says which address they are from.
"""

import hashlib
import http.client
import json
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from config.files import free_bytes, written_atomically
from data.acquisition.archives import Archive
from data.support.progress import Progress, bytes_text

CHUNK = 1 << 18
# Answers of a server that may be another in a moment.
_PASSING = (408, 429, 500, 502, 503, 504)
_BEGINNINGS = {".zip": (b"PK\x03\x04",), ".gz": (b"\x1f\x8b",), ".tgz": (b"\x1f\x8b",)}


class DownloadError(ValueError):
    """A file that could not be had; the message says from where, why, and what to do."""


class _MirrorError(Exception):
    """This address does not give the file."""


class _BrokenOffError(Exception):
    """The connection ended early; what came is kept."""


def fetch(
    archive: Archive,
    folder: Path,
    attempts: int = 4,
    pause_s: float = 2.0,
    timeout_s: float = 60.0,
) -> Path:
    """Fetches an archive into a folder, unless it is there.

    Args:
        archive: what to fetch; its addresses are tried in order.
        folder: for the file and, until it is whole, its part.
        attempts: connections in a row that may break off without having brought anything.
        pause_s: seconds before the same address is tried again.
        timeout_s: seconds to wait for an answer or for the next bytes.

    Returns:
        the file. It has the size and checksum of `archive` where these are known.

    Raises:
        DownloadError: no address gives the file, it would not fit on the disk, or a file of this
            name is there and is another one.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / archive.file, folder / f"{archive.file}.part"
    if path.is_file():
        fault = _mismatch(path, archive)
        if fault:
            raise DownloadError(
                f"{path} is there already, but {fault}; delete it and run the same command again"
            )
        return path
    faults = []
    for url in archive.urls:
        print(f"{archive.file} ← {url}", file=sys.stderr, flush=True)
        try:
            _fetch_from(url, archive, part, attempts, pause_s, timeout_s)
        except _MirrorError as fault:
            faults.append(f"  {url}\n    {fault}")
            continue
        part.replace(path)
        _note_path(part).unlink(missing_ok=True)
        return path
    raise DownloadError(_all_failed(archive, path, part, faults))


def _fetch_from(url, archive, part, attempts, pause_s, timeout_s):
    """Leaves the whole, checked file at `part`."""
    left, answered = attempts, False
    resumed = _size(part) > 0
    while True:
        before = _size(part)
        try:
            if not before or before != archive.size:
                answered = _transfer(url, archive, part, timeout_s, answered)
        except _BrokenOffError as fault:
            answered = True
            left = attempts if _size(part) > before else left - 1
            if left <= 0:
                raise _MirrorError(f"{fault}, {attempts} times in a row") from None
            time.sleep(pause_s)
            continue
        fault = _mismatch(part, archive)
        if fault is None:
            return
        part.unlink()
        if not resumed:
            raise _MirrorError(f"what it sent is not the file: {fault}")
        resumed = False  # what lay there may have been another file: once more from the start


def _transfer(url, archive, part, timeout_s, answered):
    """Adds to `part` what is missing, by one connection. Returns True."""
    if archive.size is not None and _size(part) > archive.size:
        part.unlink()
    start, note = _size(part), _read_note(part)
    headers = {"User-Agent": "mcn-download", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if note.get("url") == url and note.get("validator"):
            headers["If-Range"] = note["validator"]
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, part, start)
    except (OSError, http.client.HTTPException) as error:
        fault = f"no answer: {getattr(error, 'reason', None) or error}"
        raise (_BrokenOffError if answered else _MirrorError)(fault) from None
    with response:
        begins, total = _expected(response, start)
        _check_offer(response, archive, total)
        if begins and note.get("total") not in (None, total):
            raise _restart(part)
        # A server that sends all anew: a checksum at the end allows to keep what is there.
        keep = start if archive.sha256 else begins
        _check_space(archive, part, (archive.size or total or 0) - keep)
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        _write_note(part, {"url": url, "validator": validator, "total": total})
        _copy(response, archive, part, begins, keep, archive.size or total)
    return True


def _refused(error, part, start):
    """What an error status means for the part that lies there."""
    if error.code == 416 and start:
        if error.headers.get("Content-Range", "").endswith(f"/{start}"):
            return True
        raise _restart(part)
    text = f"HTTP {error.code} {error.reason}"
    raise (_BrokenOffError if error.code in _PASSING else _MirrorError)(text)


def _restart(part):
    part.unlink()
    return _BrokenOffError("it could not go on where the part file ends")


def _expected(response, start):
    """(first byte that is sent, bytes of the whole file or None)."""
    length = response.headers.get("Content-Length", "")
    if response.status != 206:
        return 0, int(length) if length.isdigit() else None
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    if unit != "bytes" or span.partition("-")[0] != str(start):
        raise _MirrorError(
            f"asked for bytes from {start} on, it sends {response.headers.get('Content-Range')!r}"
        )
    return start, int(total) if total.isdigit() else None


def _check_offer(response, archive, total):
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _MirrorError("it answers with a web page in place of the file")
    if None not in (archive.size, total) and total != archive.size:
        raise _MirrorError(f"it offers a file of {total:,} bytes, {archive.size:,} are expected")


def _check_space(archive, part, needed):
    free = free_bytes(part.parent)
    if needed > free:
        raise DownloadError(
            f"{archive.file} needs {bytes_text(needed)} more and {part.parent} has "
            f"{bytes_text(free)} free: make room or choose another --output"
        )


def _copy(response, archive, part, begins, keep, total):
    """Writes a body that begins at byte `begins` to `part`, whose first `keep` bytes stay."""
    done = begins
    chunk = _read(response, done, total)
    if not begins and not chunk.startswith(_beginnings(archive)):
        raise _MirrorError(f"what it sends is no {Path(archive.file).suffix} file")
    with (
        part.open("ab" if keep else "wb") as file,
        Progress(total, archive.file, unit="B", start=begins) as bar,
    ):
        while chunk:
            file.write(chunk[max(keep - done, 0) :])
            done += len(chunk)
            bar.update(done)
            if archive.size is not None and done > archive.size:
                raise _MirrorError(f"it sends more than the expected {archive.size:,} bytes")
            chunk = _read(response, done, total)
    if total is not None and done < total:
        raise _broken_off(done, total, "the connection ended")


def _read(response, done, total):
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _broken_off(done, total, error) from None


def _broken_off(done, total, reason):
    of = f" of {bytes_text(total)}" if total else ""
    return _BrokenOffError(f"broke off at {bytes_text(done)}{of} ({reason})")


def _beginnings(archive):
    return _BEGINNINGS.get(Path(archive.file).suffix.lower(), (b"",))


def _mismatch(path, archive):
    """Why a file is not the archive, or None."""
    size = _size(path)
    if archive.size is not None and size != archive.size:
        return f"it has {size:,} bytes in place of {archive.size:,}"
    if archive.sha256 is not None:
        found = _sha256(path, archive.file)
        if found != archive.sha256:
            return f"its SHA-256 is {found} in place of {archive.sha256}"
    elif Path(archive.file).suffix.lower() == ".zip" and not zipfile.is_zipfile(path):
        return "it is a zip file that is cut off or damaged"
    return None


def _sha256(path, label):
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file, Progress(_size(path), f"{label}: check", unit="B") as bar:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            done += len(chunk)
            bar.update(done)
    return digest.hexdigest()


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def _note_path(part):
    return part.with_name(part.name + ".json")


def _read_note(part):
    try:
        note = json.loads(_note_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(part, note):
    with written_atomically(_note_path(part)) as file:
        file.write(json.dumps(note).encode())


def _all_failed(archive, path, part, faults):
    lines = [f"{archive.file} could not be fetched:", *faults]
    if _size(part):
        lines.append(f"{bytes_text(_size(part))} of it are kept: the same command goes on there.")
    lines.append(
        f"By hand: get the file another way (a browser, a colleague's copy; see {archive.page}),"
        f" save it as\n  {path}\nand run the same command again, which checks and unpacks it."
    )
    if archive.sha256:
        lines.append(f"Its SHA-256 is {archive.sha256}.")
    return "\n".join(lines)
