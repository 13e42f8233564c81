"""A page in a process of its own, and a visitor who speaks HTTP without a browser."""

import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
import uuid
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 120
NUMBERS = itertools.count()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Page:
    """`predict.py --serve` in a process of its own."""

    def __init__(self, run_folder, temporary, *arguments, environment=()):
        self.port, self.temporary, self.lines = free_port(), temporary, []
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "predict.py"), "--serve", "--port", str(self.port),
             "--weights", str(run_folder / "best.weights.h5"), *arguments],
            env={**os.environ, "TMPDIR": str(temporary), **dict(environment)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Shells let commands in the background ignore Ctrl-C, and children inherit this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        self._opened = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line)
                if "The page is open at" in line:
                    self._opened.set()
        self._opened.set()

    @property
    def log(self):
        return "".join(self.lines)

    def wait_until_open(self):
        assert self._opened.wait(SECONDS), self.log
        assert "The page is open at" in self.log, self.log
        return self

    @property
    def folder(self):
        """The folder of uploads."""
        (folder,) = (path for path in self.temporary.glob("mcn_page_*") if path.is_dir())
        return folder

    @property
    def memory(self):
        """Resident bytes of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def end(self, number=signal.SIGTERM):
        """Sends a signal; returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self._reader.join()
        return code


@contextmanager
def open_page(*arguments, **settings):
    """A `Page` that is open during the block."""
    page = Page(*arguments, **settings)
    try:
        yield page.wait_until_open()
    finally:
        page.end(signal.SIGKILL)


class Client:
    """A visitor. Every call opens a connection of its own, so that threads can share a client."""

    def __init__(self, port, host="127.0.0.1"):
        self.port, self.host, self.cookie = port, host, None
        self.session = f"visitor{next(NUMBERS)}"

    def request(self, method, path, body=None, headers=()):
        """(status, headers, body) of the answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)
        headers = dict(headers) | ({"Cookie": self.cookie} if self.cookie else {})
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, path, content, kind="application/json"):
        """(status, text) of the answer to JSON, or to bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        status, _, text = self.request("POST", path, body, {"Content-Type": kind})
        return status, text.decode()

    def get(self, path):
        """(status, headers, body) of the answer."""
        return self.request("GET", urllib.parse.quote(path, safe="/=?&"))

    def upload(self, name, content, kind="image/png"):
        """The path of an uploaded file on the server."""
        status, text = self.post_files([(name, content, kind)])
        assert status == 200, text
        return json.loads(text)[0]

    def post_files(self, files):
        boundary = uuid.uuid4().hex
        parts = [
            f"--{boundary}\r\nContent-Disposition: form-data; name=\"files\"; "
            f"filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n".encode() + content + b"\r\n"
            for name, content, kind in files
        ]  # fmt: skip
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        return self.post("/gradio_api/upload", body, f"multipart/form-data; boundary={boundary}")

    def functions(self):
        """Numbers of the page's functions: {number of inputs: number of the function}."""
        status, _, text = self.get("/config")
        assert status == 200
        return {len(fn["inputs"]): fn["id"] for fn in reversed(json.loads(text)["dependencies"])}

    def join(self, data, fn_index, **more):
        """(status, text) of the answer to a question to the queue."""
        body = {"data": data, "fn_index": fn_index, "session_hash": self.session} | more
        return self.post("/gradio_api/queue/join", body)

    def answers(self, count=1):
        """The next messages that a question is answered, in their order."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)
        headers = {"Cookie": self.cookie} if self.cookie else {}
        found = []
        try:
            path = f"/gradio_api/queue/data?session_hash={self.session}"
            connection.request("GET", path, headers=headers)
            for line in connection.getresponse():
                if line.startswith(b"data:"):
                    message = json.loads(line[5:])
                    if message["msg"] in ("process_completed", "unexpected_error"):
                        found.append(message)
                    if len(found) == count:
                        return found
        finally:
            connection.close()
        return found

    def ask(self, photograph, words, threshold=0.35, use_nls=True, min_score=0):
        """The facts, or the sentence that says why there are none."""
        values = [photograph, words, threshold, use_nls, min_score]
        status, text = self.join(values, self.functions()[5])
        if status != 200:
            return json.loads(text)["detail"]
        (message,) = self.answers()
        assert message["success"], message
        return message["output"]["data"][2]


def as_file(path, **more):
    """A photograph as a question names it."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}} | more
