"""Requests that no browser sends: the page opens nothing but uploads, and says nothing else."""

import asyncio
import json
import os
import socket
import time

import pytest
from PIL import Image

from tests.utils.page.client import Client, as_file, open_page
from utils.page import gate as gate_module
from utils.page.answers import NO_UPLOAD
from utils.page.gate import (
    FORM_BYTES,
    HEARTBEAT,
    MALFORMED,
    MOST_WAITING,
    UPLOAD,
    UPLOAD_BYTES,
    Gate,
)
from utils.page.markup import problem_html
from utils.page.uploads import LOCK

pytestmark = pytest.mark.slow
FORM = "multipart/form-data; boundary=a"


@pytest.fixture
def secret(tmp_path):
    """A private picture outside of the uploads."""
    path = tmp_path / "secret.png"
    Image.new("RGB", (60, 40), (200, 20, 30)).save(path)
    return path


def test_a_private_picture_does_not_come_back(client, secret):
    """The request of an attacker: a path without the mark of an upload."""
    for number in client.functions()[5], client.functions()[5] + 1:
        body = {"data": [{"path": str(secret)}, "x", 0.35, True, 0], "fn_index": number}
        status, _ = client.post("/gradio_api/queue/join", body | {"session_hash": client.session})
        assert status == 200
        (message,) = client.answers()
        shown = [value for value in message["output"]["data"] if value is not None]
        assert shown == [problem_html(NO_UPLOAD)]


def test_only_uploads_are_opened(server, client, secret, png):
    inside = client.upload("mine.png", png())
    assert "Box score" in client.ask(as_file(inside), "red box")
    fifo = secret.parent / "fifo"
    os.mkfifo(fifo)
    inner_fifo = server.folder / "sub" / "fifo"
    inner_fifo.parent.mkdir(exist_ok=True)
    os.mkfifo(inner_fifo)
    link = server.folder / "sub" / "link.png"
    link.symlink_to(secret)
    folder_link = server.folder / "sub" / "out"
    folder_link.symlink_to(secret.parent)
    loop = server.folder / "sub" / "loop"
    loop.symlink_to(loop)
    missing = secret.parent / "missing.png"
    paths = [
        secret, missing, fifo, inner_fifo, link, folder_link / "secret.png", loop,
        server.folder, server.folder / "sub", server.folder / LOCK, server.folder / "no.png",
        f"{server.folder}/../{secret.parent.name}/secret.png",
        f"{server.folder}/sub/../../../secret.png", f"{inside}/", f"{inside}/.", f"/.{inside}",
        f"{inside}/../{os.path.basename(inside)}", os.path.relpath(secret), "README.md", "", ".",
        "/", "/dev/zero", "/dev/stdin", "/proc/self/environ", "/etc/passwd", "~/.bashrc",
        f"file://{inside}", f"http://127.0.0.1:{server.port}/", "http://example.com/a.png",
        "data:image/png;base64,AAAA", "\\\\host\\share\\a.png", f"{server.folder}x/a.png",
        "a" * 5000, f"{server.folder}/{'a' * 300}/{'b' * 300}", f"{inside}\u2028",
    ]  # fmt: skip
    for path in paths:
        for photograph in (as_file(path), {"path": str(path)}, as_file(path, url=str(path))):
            start = time.monotonic()
            answer = client.ask(photograph, "red box")
            assert NO_UPLOAD in answer, path
            assert time.monotonic() - start < 20, path
    for photograph in ({}, {"path": None}, {"path": 1}, {"path": [inside]}, {"url": inside},
                       {"path": {"path": inside}}):  # fmt: skip
        assert NO_UPLOAD in client.ask(photograph, "red box"), photograph
    for photograph in ([], [inside], [as_file(inside)], inside, 7, True):
        assert client.ask(photograph, "red box") == MALFORMED
    assert "in words" in client.ask(as_file(inside), as_file(inside))
    # A picture with an address that the server would have to fetch, or that is its content.
    for url in ("http://127.0.0.1:1/a.png", "data:image/png;base64,AAAA", f"file://{secret}"):
        assert "Box score" in client.ask(as_file(inside, url=url, is_stream=True), "red box")
    for link in (server.folder / "sub").iterdir():
        link.unlink()


def test_addresses_in_other_values_are_not_fetched(client, png):
    inside = as_file(client.upload("mine.png", png()))
    fetched = as_file("http://127.0.0.1:1/a.png")
    assert "in words" in client.ask(inside, fetched)
    assert "between 0 and 1" in client.ask(inside, "x", fetched)
    assert "on or off" in client.ask(inside, "x", 0.35, fetched)
    assert client.get("/gradio_api/file=http://example.com/a.png")[0] == 403


def test_files_are_served_from_the_uploads_only(server, client, secret, png):
    inside = client.upload("mine.png", png())
    status, headers, body = client.get(f"/gradio_api/file={inside}")
    assert (status, headers["content-type"], body) == (200, "image/png", png())
    assert headers["x-content-type-options"] == "nosniff"
    refused = [
        secret, "/etc/passwd", "README.md", server.folder, server.folder / LOCK, "",
        f"{server.folder}/../{secret.name}", f"{inside}/../../{LOCK}", "/proc/self/environ",
    ]  # fmt: skip
    answers = {client.get(f"/gradio_api/file={path}")[0::2] for path in refused}
    assert len(answers) == 1
    assert answers.pop()[0] == 403
    for value in ("bytes=0-3", "bytes=1-2-3", "bytes=²-³", "bytes=9999999-1"):
        headers = {"Range": value.encode()}
        status, _, body = client.request("GET", f"/gradio_api/file={inside}", headers=headers)
        assert (status, body) == (200, png())


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("a.html", "text/html", b"<script>alert(1)</script>"),
        ("a.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        ("a.js", "text/javascript", b"alert(1)"),
        ("a.png", "text/html", b"<script>alert(1)</script>"),
    ],
)
def test_uploads_never_run_in_the_name_of_the_page(client, name, kind, content):
    path = client.upload(name, content, kind)
    status, headers, _ = client.get(f"/gradio_api/file={path}")
    assert status == 200
    assert headers["content-type"] in ("application/octet-stream", "image/png")
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert f"{name}: not a readable image" in client.ask(as_file(path), "red box")


def test_routes_that_the_page_does_not_use_are_closed(client):
    for method, path in (
        ("GET", "/gradio_api/deep_link?session_hash=a"), ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"), ("GET", "/gradio_api/proxy=http://a.hf.space/"),
        ("GET", "/monitoring"), ("POST", "/gradio_api/run-history/connect"),
        ("GET", "/gradio_api/vibe-code"), ("POST", "/gradio_api/call/find"), ("PUT", "/"),
        ("POST", "/gradio_api/stream/a"), ("GET", "/gradio_api/dev/reload"), ("DELETE", "/config"),
        ("GET", "/gradio_api/file/etc/passwd"), ("GET", f"/?{'a' * 5000}"),
        ("GET", f"/static/{'a' * 3000}"), ("GET", "/static/%00"), ("GET", "/assets/%F0%9F%98%80"),
    ):  # fmt: skip
        assert client.request(method, path)[0] == 404, path


GOOD = {"data": [None, "x", 0.35, True, 0], "fn_index": 1, "session_hash": "b", "trigger_id": 7}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b'"a"', b"\xff\xfe{}", b"{}" * 2, b"[" * 20_000,
        b'{"data": NaN}', b'{"data": [], "data": []}', b"1" * 10_000,
        b'{"data": [null, "\\ud800", 0.35, true, 0], "fn_index": 1, "session_hash": "b"}',
        b'{"data": [null, "\\u0000", 0.35, true, 0], "fn_index": 1, "session_hash": "b"}',
        b'{"data": [null, "x", NaN, true], "fn_index": 1, "session_hash": "b"}',
        *(json.dumps(GOOD | change).encode() for change in (
            {"data": None}, {"data": {}}, {"data": "abc"}, {"data": [None] * 9}, {"data": []},
            {"data": [None] * 3}, {"data": [None] * 6}, {"fn_index": 99},
            {"data": [[1], "x", 0.35, True, 0]}, {"fn_index": -1}, {"fn_index": 10**9},
            {"fn_index": "1"}, {"fn_index": None}, {"fn_index": True}, {"fn_index": 1.0},
            {"session_hash": None}, {"session_hash": ""}, {"session_hash": "a" * 65},
            {"session_hash": "../a"}, {"session_hash": "ä"}, {"session_hash": ["b"]},
            {"trigger_id": "a"}, {"trigger_id": 1.5}, {"trigger_id": [7]},
        )),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/run/predict"])
def test_malformed_questions_are_refused(client, body, path):
    status, text = client.post(path, body)
    assert (status, json.loads(text)["detail"]) == (400, MALFORMED)


def test_examples_are_chosen_by_their_number(client):
    body = {"fn_index": client.functions()[1], "session_hash": client.session}
    status, text = client.post("/gradio_api/run/predict", body | {"data": [0]})
    assert status == 200
    assert "a.png" in text
    for value in (4, -1, "0", None, [0], True, 0.0, as_file("/etc/passwd"), 10**30):
        assert client.post("/gradio_api/run/predict", body | {"data": [value]})[0] == 400, value


def test_the_queue_cannot_be_passed_by(client, png):
    photograph = as_file(client.upload("mine.png", png()))
    body = {"data": [photograph, "red box", 0.35, True, 0], "session_hash": client.session}
    for function in client.functions()[5], client.functions()[4]:
        status, _ = client.post("/gradio_api/run/predict", body | {"fn_index": function})
        assert status == 400


def test_answers_of_nobody_are_not_waited_for(client):
    for query in ("", "session_hash=", "session_hash=nobody", "session_hash=a&session_hash=b"):
        assert client.get(f"/gradio_api/queue/data?{query}")[0] == 404


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("application/json", b"{}"),
        (FORM, b"x"),
        (FORM + "b" * 2000, b"x"),
        (FORM, b'--a\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--a--\r\n'),
        (FORM, b"--a\r\nContent-Disposition: form-data\r\n\r\nx\r\n--a--\r\n"),
        (FORM, b"--a\r\n" + b"X: y\r\n" * 5000 + b"\r\nx\r\n--a--\r\n"),
    ],
)
def test_malformed_uploads_are_refused(client, kind, body):
    assert client.post("/gradio_api/upload", body, kind)[0] in (400, 413)


def test_uploads_that_break_off_are_forgotten(server, client, png):
    before = server.log
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: page\r\nContent-Length: 1000000\r\n"
        f"Content-Type: {FORM}\r\n\r\n--a\r\n"
        'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    )
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + bytes(1000))
    assert "Box score" in client.ask(as_file(client.upload("mine.png", png())), "red box")
    assert "Traceback" not in server.log.removeprefix(before)


def test_a_full_disk_is_said(run_folder, small_disk, png):
    with open_page(run_folder, small_disk(3_000_000)) as page:
        client = Client(page.port)
        status, text = client.post_files([("large.png", bytes(5_000_000), "image/png")])
        assert (status, "no room for the photograph" in text) == (507, True)
        assert list(page.folder.glob("tmp*")) == []
        for partial in page.folder.glob("tmp*"):
            partial.unlink()
        assert "Box score" in client.ask(as_file(client.upload("mine.png", png())), "red box")


def test_large_requests_are_refused_before_they_are_read(server, client):
    before = server.memory
    for path in ("/gradio_api/queue/join", "/login", "/gradio_api/run/predict"):
        assert client.post(path, b" " * (FORM_BYTES + 1))[0] == 413
    for size in (UPLOAD_BYTES + FORM_BYTES, 200 << 20):
        headers = {
            "Content-Type": "multipart/form-data; boundary=a",
            "Content-Length": str(size + 1),
        }
        assert client.request("POST", "/gradio_api/upload", b"", headers)[0] == 413
    half = [(f"{number}.png", bytes(UPLOAD_BYTES // 2), "image/png") for number in range(3)]
    assert client.post_files(half)[0] == 413
    assert server.memory - before < 200e6


@pytest.mark.parametrize(
    ("words", "threshold", "use_nls", "sentence"),
    [
        ("red box", 1e999, True, None),
        ("red box", 1.5, True, "between 0 and 1, not 1.5"),
        ("red box", -1, True, "between 0 and 1, not -1"),
        ("red box", 10**400, True, "between 0 and 1, not 1000"),
        ("red box", "0.35", True, "between 0 and 1, not &#x27;0.35&#x27;"),
        ("red box", True, True, "between 0 and 1, not True"),
        ("red box", None, True, "between 0 and 1, not None"),
        ("red box", 0.35, 1, "ASNLS can only be on or off"),
        ("red box", 0.35, "yes", "ASNLS can only be on or off"),
        (7, 0.35, True, "in words"),
        (None, 0.35, True, "Describe the object to find"),
        ("a" * 301, 0.35, True, "at most 300 characters"),
        (" " * 5000, 0.35, True, "at most 300 characters"),
    ],
)
def test_settings_and_expressions_are_checked(client, png, words, threshold, use_nls, sentence):
    path = as_file(client.upload("mine.png", png()))
    if sentence is None:  # Python writes the number as Infinity, which is not JSON.
        body = json.dumps(GOOD).replace("0.35", "1e999").encode()
        assert client.post("/gradio_api/queue/join", body)[0] == 200
        return
    assert sentence in client.ask(path, words, threshold, use_nls)


def test_unread_answers_are_bounded(client):
    find = client.functions()[5]
    statuses = [client.join([None, "x", 0.35, True, 0], find)[0] for _ in range(MOST_WAITING + 2)]
    assert statuses[-1] == 429
    assert set(statuses) == {200, 429}
    other = Client(client.port)
    assert other.ask(None, "x") == '<p class="problem">Choose a photograph first.</p>'
    assert len(client.answers(MOST_WAITING)) == MOST_WAITING
    assert client.join([None, "x", 0.35, True, 0], find)[0] == 200


def test_pages_of_other_sites_cannot_use_the_page(server, client, png):
    """Neither by their own name nor by one that leads to this machine (DNS rebinding)."""
    own = f"127.0.0.1:{server.port}"
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-forwarded-host",
    }
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"http://{own}.example"):
        for method, path, more in (
            ("GET", "/", {}),
            ("GET", "/config", {}),
            ("POST", UPLOAD, {}),
            ("OPTIONS", UPLOAD, preflight),
        ):
            status, headers, _ = client.request(method, path, b"", {"Origin": origin, **more})
            assert status == 403
            assert not [name for name in headers if name.lower().startswith("access-control")]
    for host in ("evil.example", f"evil.example:{server.port}", ""):
        for more in ({}, {"Origin": f"http://{host}"}, {"X-Forwarded-Host": host}):
            status, _, said = client.request("GET", "/config", headers={"Host": host, **more})
            assert status == 403
            assert b"names of its own machine only" in said
    for host in (own, f"localhost:{server.port}", "localhost", f"[::1]:{server.port}"):
        for more in ({}, {"Origin": f"http://{host}"}):
            assert client.request("GET", "/config", headers={"Host": host, **more})[0] == 200


def test_a_proxy_in_front_of_the_page_names_itself(client):
    headers = {"X-Forwarded-Host": "mcn.example", "X-Forwarded-Proto": "https"}
    for more, allowed in (
        ({}, True),
        ({"Origin": "https://mcn.example"}, True),
        ({"Origin": "https://evil.example"}, False),
    ):
        status, _, text = client.request("GET", "/config", headers=headers | more)
        assert status == (200 if allowed else 403)
        assert not allowed or json.loads(text)["root"] == "https://mcn.example"


def test_open_heartbeats_are_bounded(monkeypatch):
    monkeypatch.setattr(gate_module, "MOST_BEATING", 2)
    statuses = []

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def visit():
        closed = asyncio.Event()

        async def app(scope, receive, send):
            await closed.wait()
            await send({"type": "http.response.start", "status": 200})

        gate = Gate(app, None, None, local=False)
        scope = {"type": "http", "method": "GET", "path": f"{HEARTBEAT}a", "query_string": b""}
        scope["headers"] = []
        for refused in ([503], [503]):
            open_pages = [asyncio.create_task(gate(scope, None, send)) for _ in range(3)]
            await asyncio.sleep(0)
            assert statuses == refused
            closed.set()
            await asyncio.gather(*open_pages)
            assert statuses == [503, 200, 200]
            closed.clear()
            statuses.clear()

    asyncio.run(visit())
