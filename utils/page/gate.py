"""What the page accepts from the network, checked before Gradio sees it.

Gradio offers many more routes than the page uses, reads files and fetches addresses that a request
names, and reads requests of any size into memory. `Gate` lets through only what the page's own
JavaScript sends.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from config.json_text import parse_json
from utils.page.access import names_this_machine
from utils.page.answers import PageError
from utils.page.uploads import Uploads

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

API = "/gradio_api"
UPLOAD, JOIN, EXAMPLE = f"{API}/upload", f"{API}/queue/join", f"{API}/run/predict"
LOGIN = "/login"
FILE, ANSWERS = f"{API}/file=", f"{API}/queue/data"
HEARTBEAT = f"{API}/heartbeat/"
_READ = re.compile(
    r"/|/config|/theme\.css|/manifest\.json|/favicon\.ico|/robots\.txt|/logout"
    r"|/(static|assets)/[\w./@-]{1,200}"
    rf"|{API}/(theme\.css|info|login_check|app_id|startup-events|queue/data"
    r"|heartbeat/[\w-]{1,64}|file=.*)",
    re.ASCII | re.DOTALL,
)
_WRITE = re.compile(rf"{LOGIN}|{UPLOAD}|{JOIN}|{EXAMPLE}")
_SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)

UPLOAD_BYTES = 20 << 20
# The frame of a form around an uploaded file.
FORM_BYTES = 64 << 10
MOST_UPLOADING = 16
UPLOAD_SECONDS = 120
MOST_WAITING = 8
MOST_BEATING = 500  # Connections that open pages keep; they need no password.
# Passwords are guessed one after the other.
GUESS_SECONDS, MOST_GUESSING = 0.5, 8
QUERY_BYTES = 2000
TOO_LARGE = f"Choose a photograph of at most {UPLOAD_BYTES >> 20} MB."
MALFORMED = "The page cannot use this request: reload the page and try again."
FOREIGN_SITE = (
    "This request comes from another site: open the page itself. A proxy in front of it must pass "
    "on the Host of the request, or set X-Forwarded-Host to it."
)
FOREIGN_HOST = (
    "This page answers to names of its own machine only, such as localhost. A proxy in front of it "
    "must send Host: localhost, and the Host of the request as X-Forwarded-Host."
)
# Scripts in a file of a visitor must not run in the name of the page.
_FILE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
]


class Refused(Exception):
    """A request that is not passed on: HTTP status and a sentence for the sender."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Questions:
    """What the page can be asked.

    Attributes:
        n_values: the number of values that each function takes, by the function's number.
        n_examples: the number of examples that can be chosen.
        n_waiting: function of a session that returns how many of its questions have no answer yet,
            or one that was not fetched.
    """

    n_values: Mapping[int, int]
    n_examples: int
    n_waiting: Callable[[str], int]


class Gate:
    """ASGI middleware that refuses all requests that the page itself does not send.

    Args:
        app: the application behind the gate.
        uploads: the files that requests may name.
        questions: what the page can be asked.
        local: whether only this machine can reach the page, so that every other name of it is
            that of a stranger.
    """

    def __init__(self, app: Any, uploads: Uploads, questions: Questions, local: bool) -> None:
        self._app, self._uploads, self._questions = app, uploads, questions
        self._local = local
        self._uploading = self._guessing = self._beating = 0
        self._guess = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on or answers it with an error."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message):
            nonlocal started
            started = True
            if message["type"] == "http.response.start" and scope["path"].startswith(FILE):
                message = {**message, "headers": [*message["headers"], *_FILE_HEADERS]}
            await send(message)

        try:
            await self._pass(scope, receive, sending)
        except Refused as refusal:
            if not started:
                await _answer(send, refusal.status, str(refusal))

    async def _pass(self, scope, receive, send):
        method, path = scope["method"], scope["path"]
        self._check_site(dict(scope["headers"]))
        allowed = {"GET": _READ, "HEAD": _READ, "OPTIONS": _READ, "POST": _WRITE}.get(method)
        used = allowed is not None and allowed.fullmatch(path)
        if not used or len(scope["query_string"]) > QUERY_BYTES:
            raise Refused(404, MALFORMED)
        if path == UPLOAD:
            await self._pass_upload(scope, receive, send)
            return
        if path.startswith(HEARTBEAT):
            await self._pass_heartbeat(scope, receive, send)
            return
        if path.startswith(FILE):
            if self._uploads.find(path.removeprefix(FILE)) is None:
                raise Refused(403, MALFORMED)
            # Parts of a picture are never needed, and Gradio fails on odd ranges.
            scope = {**scope, "headers": [h for h in scope["headers"] if h[0] != b"range"]}
        elif path == ANSWERS:
            session = scope["query_string"].decode("latin-1").removeprefix("session_hash=")
            if not _SESSION.fullmatch(session) or not self._questions.n_waiting(session):
                raise Refused(404, MALFORMED)
        elif method == "POST":
            body = await _read(receive, FORM_BYTES)
            if path == LOGIN:
                await self._delay_guess()
            if path in (JOIN, EXAMPLE):
                body = self._checked(body, path)
                scope = {**scope, "headers": _headers_of_json(scope["headers"], body)}
            receive = _replay(body, receive)
        await self._app(scope, receive, send)

    def _check_site(self, headers):
        """Refuses what pages of other sites make the browser of a visitor send."""
        host = headers.get(b"host", b"").decode("latin-1")
        # A name of another site can lead to this machine: its pages would count as ours.
        if self._local and not names_this_machine(host):
            raise Refused(403, FOREIGN_HOST)
        origin = headers.get(b"origin")
        if origin is None:  # As the browser does for addresses that are typed or followed.
            return
        # No page of another site can set this header, which a proxy sets to its own name.
        forwarded = headers.get(b"x-forwarded-host", b"").decode("latin-1").split(",")[0].strip()
        _, _, site = origin.decode("latin-1").partition("://")
        if not site or site.lower() not in (host.lower(), forwarded.lower()):
            raise Refused(403, FOREIGN_SITE)

    async def _delay_guess(self):
        if self._guessing >= MOST_GUESSING:
            raise Refused(429, "Too many passwords are being tried: try again in a minute.")
        self._guessing += 1
        try:
            async with self._guess:
                await asyncio.sleep(GUESS_SECONDS)
        finally:
            self._guessing -= 1

    async def _pass_heartbeat(self, scope, receive, send):
        if self._beating >= MOST_BEATING:
            raise Refused(503, "Too many pages are open: try again in a minute.")
        self._beating += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._beating -= 1

    async def _pass_upload(self, scope, receive, send):
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > UPLOAD_BYTES + FORM_BYTES:
            raise Refused(413, TOO_LARGE)
        if self._uploading >= MOST_UPLOADING:
            raise Refused(503, "Too many photographs are being uploaded: try again in a minute.")
        self._uploading += 1
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                await asyncio.to_thread(self._uploads.make_room)
                # Gradio keeps the progress of uploads for ever if nobody asks for it.
                scope = {**scope, "query_string": b""}
                await self._app(scope, _bounded(receive, UPLOAD_BYTES + FORM_BYTES), send)
        except TimeoutError:
            raise Refused(408, "The upload took too long: try a smaller photograph.") from None
        except OSError:
            raise Refused(507, "The server has no room for the photograph: try later.") from None
        except (TypeError, ValueError):  # Of Gradio about forms that no browser sends.
            raise Refused(400, MALFORMED) from None
        finally:
            self._uploading -= 1
            if not self._uploading:
                self._uploads.remove_partial()

    def _checked(self, body, path):
        """The JSON of a question, rebuilt from its checked parts."""
        try:
            question = parse_json(body, "request", error=PageError)
        except PageError:
            raise Refused(400, MALFORMED) from None
        question = question if isinstance(question, dict) else {}
        data, session = question.get("data"), question.get("session_hash")
        function: Any = question.get("fn_index")
        trigger: Any = question.get("trigger_id") or 0
        if (
            not all(type(number) is int and 0 <= number < 1000 for number in (function, trigger))
            or not isinstance(data, list)
            or len(data) != self._questions.n_values.get(function)
            or not isinstance(session, str)
            or not _SESSION.fullmatch(session)
        ):
            raise Refused(400, MALFORMED)
        example = data[0] if len(data) == 1 and type(data[0]) is int else -1
        if path == EXAMPLE and not 0 <= example < self._questions.n_examples:
            raise Refused(400, MALFORMED)
        # The first value of a question is a photograph or an earlier answer, which stays here.
        if path == JOIN and data and not isinstance(data[0], (dict, type(None))):
            raise Refused(400, MALFORMED)
        if self._questions.n_waiting(session) >= MOST_WAITING:
            raise Refused(429, "Earlier questions are not answered yet: wait for their answers.")
        clean = {
            "data": [self._value(value) for value in data],
            "fn_index": function,
            "trigger_id": trigger or None,
            "session_hash": session,
        }
        return json.dumps(clean).encode()

    def _value(self, value):
        """A value of a question: text, a number, or a file inside the folder of uploads."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if not isinstance(value, dict):
            raise Refused(400, MALFORMED)
        # Whatever else is named becomes a file that never exists: the page answers the same.
        path = self._uploads.find(value.get("path")) or self._uploads.folder / "missing"
        name = value.get("orig_name")
        return {
            "path": str(path),
            "orig_name": name if isinstance(name, str) else None,
            "meta": {"_type": "gradio.FileData"},
        }


def _bounded(receive, most_bytes):
    """`receive` that refuses a body as soon as it is larger than `most_bytes` or broken off."""
    size = 0

    async def receiving():
        nonlocal size
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, MALFORMED)
        size += len(message.get("body", b""))
        if size > most_bytes:
            raise Refused(413, TOO_LARGE)
        return message

    return receiving


async def _read(receive, most_bytes):
    """The whole body of a request."""
    receive, parts, more = _bounded(receive, most_bytes), [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body, receive):
    """`receive` that returns a body that was already read, and then what follows it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving():
        return messages.pop() if messages else await receive()

    return receiving


def _headers_of_json(headers, body):
    replaced = (b"content-length", b"content-type", b"transfer-encoding", b"content-encoding")
    return [
        *(header for header in headers if header[0] not in replaced),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]


async def _answer(send, status, sentence):
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
