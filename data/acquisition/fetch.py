"""Download of one file over HTTP that resumes, verifies the file and falls back to mirrors.

The data are collected in `<file>.part`, which is renamed once it is complete and verified.
Without a checksum, they are continued only if the server says that its file is still the same.
"""

import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.errors import UserError, shortened, shown
from config.files import (
    bytes_text,
    check_free_space,
    check_place,
    no_space_named,
    remove_partial_files,
    write_text,
)
from data.acquisition.archives import Archive, Download
from data.acquisition.attempts import Attempts, ConnectionLostError, MirrorError
from data.acquisition.continuation import is_continued, new_note, note_path, read_note, validator_at
from data.acquisition.verification import Examine, mismatch_of
from data.support.progress import Progress

CHUNK_BYTES = 1 << 18
# Status codes after which the same request may succeed.
_TRANSIENT = (408, 429, 500, 502, 503, 504)
# What urllib raises about servers; ValueError about addresses and numbers that are malformed.
_FAULTS = (OSError, http.client.HTTPException, ValueError)
_NUMBER = re.compile(r"[0-9]{1,18}")


class DownloadError(UserError):
    """A file cannot be downloaded; the message lists the addresses, the faults and a way out."""


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the web, and not to FTP."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not newurl.lower().startswith(("http://", "https://")):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is no web address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(
    download: Download,
    folder: Path,
    attempts: int = 4,
    pause_s: float = 2.0,
    timeout_s: float = 60.0,
    examine: Examine | None = None,
) -> Path:
    """Downloads a file into a folder, unless it exists there.

    Only one process may download a file at a time.

    Args:
        download: what to download; its addresses are tried in order.
        folder: where the file and, until it is complete, its part are stored.
        attempts: consecutive failed attempts without progress before an address is given up; also
            how often the download may start over without getting further than before.
        pause_s: seconds before the same address is tried again.
        timeout_s: seconds to wait for a response or for more data.
        examine: judges a complete file by its content, if no checksum is known; says how it
            differs from the expected one.

    Returns:
        Path of the file, which has the size and checksum of `download` where these are known.

    Raises:
        DownloadError: no address provides the file, or a different file of this name exists.
        UserError: a folder or a link is in the place of one of these files.
        NoSpaceError: the file does not fit on the disk; what has arrived is kept.
    """
    folder = Path(folder)
    if found := existing(download, folder, examine):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / download.file, _part_of(download, folder)
    for place in (path, part, note_path(part)):
        check_place(place)
    remove_partial_files(note_path(part))
    faults = []
    for url in download.urls:
        print(f"{download.file} ← {url}", file=sys.stderr, flush=True)
        try:
            _fetch_from(url, download, part, attempts, pause_s, timeout_s, examine)
        except MirrorError as fault:
            faults.append(f"  {url}\n    {fault}")
            continue
        part.replace(path)
        note_path(part).unlink(missing_ok=True)
        return path
    if not part.exists():
        note_path(part).unlink(missing_ok=True)
    raise DownloadError(_all_failed(download, path, part, faults))


def existing(download: Download, folder: Path, examine: Examine | None = None) -> Path | None:
    """The complete file in a folder, which need not be writable; None if there is none.

    Args:
        download, folder, examine: as those of `fetch`.

    Raises:
        DownloadError: a different file of this name exists.
    """
    path, part = folder / download.file, _part_of(download, folder)
    if not path.is_file():
        return None
    if mismatch := mismatch_of(path, download, examine):
        raise DownloadError(
            f"{path} exists, but {mismatch}; delete it and run the same command again, or get the "
            f"file from {download.page} in a browser"
        )
    if not os.path.lexists(part):  # A killed process has renamed it.
        with suppress(OSError):
            note_path(part).unlink()
    return path


def _part_of(download: Download, folder: Path) -> Path:
    return folder / f"{download.file}.part"


def _fetch_from(
    url: str,
    download: Download,
    part: Path,
    attempts: int,
    pause_s: float,
    timeout_s: float,
    examine: Examine | None,
) -> None:
    """Downloads from one address; afterwards `part` is the complete, verified file."""
    lost, responded = Attempts(attempts, _size(part)), False
    resumed = _size(part) > 0
    while True:
        try:
            if not _size(part) or _size(part) != download.size:
                responded = _transfer(url, download, part, timeout_s, responded)
        except ConnectionLostError as fault:
            responded = True
            lost.add(fault, _size(part))
            time.sleep(pause_s)
            continue
        mismatch = mismatch_of(part, download, examine)
        if mismatch is None:
            return
        part.unlink()
        if not resumed:
            raise MirrorError(f"it sent a different file: {mismatch}")
        resumed = False  # The part may be of another file: start over once.
        lost = Attempts(attempts, 0)


def _transfer(url: str, download: Download, part: Path, timeout_s: float, responded: bool) -> bool:
    """Appends the missing data to `part`, over one connection.

    Args:
        responded: whether this address has responded before; only then is a failed connection
            worth another attempt.

    Returns:
        True: the address responds.
    """
    most = download.most
    if most is not None and _size(part) > most:
        part.unlink()
    note = read_note(part)
    validator = validator_at(url, note)
    # Without a checksum, only the same validator tells that what follows is of the same file.
    start = _size(part) if download.sha256 or validator else 0
    headers = {"User-Agent": "mcn-download", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if start and validator:
        headers["If-Range"] = validator
    request = urllib.request.Request(url, headers=headers)
    try:
        opener = urllib.request.build_opener(_WebRedirects)
        response = opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, part, start, download, note)
    except _FAULTS as error:
        fault = f"no response: {_reason_of(error)}"
        raise (ConnectionLostError if responded else MirrorError)(fault) from None
    with response:
        # The trailers of a chunked response may never end. The connection is not used again.
        response._read_and_discard_trailer = lambda: None
        offset, total = _content_range(response, start)
        _check_response(response, download, total)
        new = new_note(url, response, total)
        if offset and not is_continued(note, new, download):
            raise _restart(part)
        _receive(response, download, part, offset, start, new)
    return True


def _refused(
    error: urllib.error.HTTPError,
    part: Path,
    start: int,
    download: Download,
    note: dict[str, Any],
) -> bool:
    """Handles an error status; True if it means that the part is complete."""
    if error.code == 416 and start:
        ends_there = error.headers.get("Content-Range", "").endswith(f"/{start}")
        if ends_there and is_continued(note, note | {"total": start}, download):
            return True
        raise _restart(part)
    text = f"HTTP {error.code} {shortened(str(error.reason))}"
    raise (ConnectionLostError if error.code in _TRANSIENT else MirrorError)(text)


def _restart(part: Path) -> ConnectionLostError:
    part.unlink()
    return ConnectionLostError("it could not resume where the partial download ends")


def _content_range(response: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
    """Offset of the first byte in the response, and size of the complete file if known."""
    length = response.headers.get("Content-Length", "")
    if response.status != 206:
        return 0, _number(length)
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    if unit != "bytes" or span.partition("-")[0] != str(start):
        raise MirrorError(
            f"the requested range starts at byte {start}, but it sends "
            f"{shown(response.headers.get('Content-Range'))}"
        )
    return start, _number(total)


def _number(text: str) -> int | None:
    """A number of bytes; None if it is not known, or not a number."""
    return int(text) if _NUMBER.fullmatch(text) else None


def _reason_of(error: Exception) -> str:
    return shortened(str(getattr(error, "reason", None) or error))


def _check_response(
    response: http.client.HTTPResponse, download: Download, total: int | None
) -> None:
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise MirrorError("it sends a web page instead of the file")
    if None not in (download.size, total) and total != download.size:
        raise MirrorError(f"it offers a file of {total:,} bytes instead of {download.size:,}")
    most = download.most
    if total is not None and most is not None and total > most:
        raise MirrorError(f"it offers a file of {total:,} bytes, more than {most:,}")


def _receive(
    response: http.client.HTTPResponse,
    download: Download,
    part: Path,
    offset: int,
    start: int,
    note: Mapping[str, Any],
) -> None:
    """Writes a response to `part`, and its note.

    Args:
        offset: position of the first byte of the response in the file.
        start: length of the existing data in `part` that the request asked to continue.
        note: describes the file that the response is of.
    """
    # If the server ignores the range, the data that exist are kept only if a checksum verifies the
    # result.
    keep = start if download.sha256 else offset
    total = download.size or note["total"]
    check_free_space(
        part.parent,
        (total or download.about_bytes or 0) - keep,
        f"The rest of {download.file}" if keep else download.file,
        "free some space or choose another --output",
    )
    first = _read(response, offset, total)
    if total and not first:
        raise _connection_lost(offset, total, "the connection ended")
    if not offset and not first.startswith(download.signature):
        raise MirrorError(f"it sends something other than {download.kind}")
    if not keep:
        part.unlink(missing_ok=True)  # The note must never be beside the part of another file.
    write_text(note_path(part), json.dumps(note))
    _copy(response, first, download, part, offset, keep, total)


def _copy(
    response: http.client.HTTPResponse,
    first: bytes,
    download: Download,
    part: Path,
    offset: int,
    keep: int,
    total: int | None,
) -> None:
    """Appends a response, whose `first` bytes are read already, from `keep` on to `part`."""
    done, chunk = offset, first
    with (
        no_space_named(part, total),
        part.open("ab") as file,
        Progress(total, download.file, unit="B", start=offset) as progress,
    ):
        while chunk:
            file.write(chunk[max(keep - done, 0) :])
            done += len(chunk)
            progress.update(done)
            if download.most is not None and done > download.most:
                raise MirrorError(f"it sends more than the expected {download.most:,} bytes")
            chunk = _read(response, done, total)
    if total is not None and done < total:
        raise _connection_lost(done, total, "the connection ended")


def _read(response: http.client.HTTPResponse, done: int, total: int | None) -> bytes:
    # `read` would read everything into memory if a server sends a piece of "-1" bytes.
    chunk = bytearray(CHUNK_BYTES)
    try:
        n_bytes = response.readinto(chunk)
    except _FAULTS as error:
        raise _connection_lost(done, total, _reason_of(error)) from None
    return bytes(chunk[:n_bytes])


def _connection_lost(done: int, total: int | None, reason: object) -> ConnectionLostError:
    of = f" of {bytes_text(total)}" if total else ""
    return ConnectionLostError(f"connection lost after {bytes_text(done)}{of} ({reason})")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _all_failed(download: Download, path: Path, part: Path, faults: list[str]) -> str:
    lines = [f"{download.file} could not be downloaded:", *faults]
    if _size(part):
        lines.append(
            f"The partial download ({bytes_text(_size(part))}) is kept; run the same command to "
            "resume."
        )
    is_archive = isinstance(download, Archive)
    lines.append(
        f"Manual download: get the file from {download.page} in a browser, or in another way, save "
        f"it as\n  {path}\nand run the same command again, which verifies "
        f"{'and extracts it' if is_archive else 'it'}."
    )
    if download.sha256:
        lines.append(f"Its SHA-256 is {download.sha256}.")
    return "\n".join(lines)
