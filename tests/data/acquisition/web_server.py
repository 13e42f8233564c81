"""A local web server that behaves well or badly, for tests of downloads."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Served:
    """How the server responds to requests for one address.

    Attributes:
        content: the file.
        break_at: the connection is closed after this many bytes of a response, `breaks` times.
        drops: such numbers of bytes, one after another, instead of `break_at`.
        ranges: whether the Range header is respected.
        length: value of Content-Length, a number or any text; None is the correct one, -1 omits
            the header.
        status: status code; any but 200 is an error response.
        failures: the number of times that the error response is sent.
        claimed: requests for a range get status 416 and this size of the file.
        totals: sizes of the file that responses with a range claim, one after another.
        span: a Content-Range to send instead of the correct one.
        etag, modified: values of ETag and Last-Modified; None omits the header.
        if_range: whether the If-Range header is respected.
        trailer: what follows the response, again and again, until the client closes the connection.
        location: an address to redirect to.
        chunked: whether the header says so; `content` is then sent as it is, with any faults.
        asked: the Range header of every request, "" if there was none.
    """

    content: bytes = b""
    content_type: str = "application/zip"
    break_at: int | None = None
    breaks: int = 1_000_000
    drops: Iterator[int] | None = None
    ranges: bool = True
    length: int | str | None = None
    status: int = 200
    failures: int = 1_000_000
    claimed: int | None = None
    totals: Iterator[int] | None = None
    span: str | None = None
    etag: str | None = '"one"'
    modified: str | None = None
    if_range: bool = True
    trailer: bytes = b""
    location: str | None = None
    chunked: bool = False
    asked: list = field(default_factory=list)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        served = self.server.files.get(self.path)
        if served is None:
            return self.send_error(404)
        wanted = self.headers.get("Range", "")
        served.asked.append(wanted)
        if served.location:
            self.send_response(302)
            self.send_header("Location", served.location)
            self.end_headers()
            return None
        if served.status != 200 and served.failures > 0:
            served.failures -= 1
            return self.send_error(served.status)
        validators = (None, served.etag, served.modified)
        if served.if_range and self.headers.get("If-Range") not in validators:
            wanted = ""
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and served.ranges else 0
        total = served.length if isinstance(served.length, int) else len(served.content)
        if start and (served.claimed or start >= len(served.content)):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{served.claimed or len(served.content)}")
            self.end_headers()
            return None
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", served.content_type)
        for name, value in (("ETag", served.etag), ("Last-Modified", served.modified)):
            if value is not None:
                self.send_header(name, value)
        if start:
            size = next(served.totals) if served.totals else len(served.content)
            span = f"bytes {start}-{len(served.content) - 1}/{size}"
            self.send_header("Content-Range", served.span or span)
        if served.length != -1:
            odd = served.length if isinstance(served.length, str) else None
            self.send_header("Content-Length", odd or str(total - start))
        if served.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = served.content[start:]
        if served.break_at is not None and served.breaks > 0:
            served.breaks -= 1
            body = body[: next(served.drops) if served.drops else served.break_at]
        self.wfile.write(body)
        with suppress(ConnectionError):
            while served.trailer and not self.server.closing.wait(0.1):
                self.wfile.write(served.trailer)
        return None

    def log_message(self, *_):
        pass


class WebServer:
    """Serves on the loopback interface while the `with` block runs."""

    def __enter__(self):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.files, self._server.closing = {}, threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, name, content=b"", **behaviour):
        """Serves `content` as `name`; returns (address, `Served`)."""
        self._server.files["/" + name] = served = Served(content, **behaviour)
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}", served
