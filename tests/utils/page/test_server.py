"""The page as a process: how it opens, who may enter, and what is left when it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.command_line import exit_code
from tests.utils.page.client import ROOT, Client, Page, as_file, open_page
from utils.page.access import AUTH_VARIABLE
from utils.page.gate import GUESS_SECONDS

pytestmark = pytest.mark.slow
PASSWORD = "sesame-7319"


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def close(page, client, number):
    """A signal closes the page, although a visitor stays, and nothing of it is left."""
    visitor = threading.Thread(target=client.get, args=("/gradio_api/heartbeat/a",))
    visitor.start()
    assert page.folder.stat().st_mode & 0o777 == 0o700
    assert page.end(number) == 0
    visitor.join()
    assert "The page is closed." in page.log
    assert "Traceback" not in page.log
    assert list(page.temporary.glob("mcn_page_*")) == []


def test_a_public_page_says_so_and_ctrl_c_closes_it(run_folder, tmp_path, png):
    with open_page(run_folder, tmp_path, "--host", "0.0.0.0", "--public") as page:
        wait_for(lambda: "Anyone who can reach this address can use the page" in page.log)
        client = Client(page.port)
        assert "Box score" in client.ask(as_file(client.upload("mine.png", png())), "red box")
        for host in (f"192.168.1.5:{page.port}", "mcn.example"):  # As other machines call it.
            headers = {"Host": host, "Origin": f"http://{host}"}
            assert client.request("GET", "/config", headers=headers)[0] == 200
            headers["Origin"] = "http://evil.example"
            assert client.request("GET", "/config", headers=headers)[0] == 403
        close(page, client, signal.SIGINT)


def test_a_signal_during_the_start_leaves_nothing(run_folder, tmp_path):
    page = Page(run_folder, tmp_path)
    wait_for(lambda: list(tmp_path.glob("mcn_page_*")))
    assert page.end(signal.SIGTERM) == 130
    assert "Traceback" not in page.log
    assert list(tmp_path.glob("mcn_page_*")) == []


def test_the_next_page_removes_what_a_killed_one_left(run_folder, tmp_path, png):
    with open_page(run_folder, tmp_path) as page:
        path = Client(page.port).upload("private.png", png())
        page.end(signal.SIGKILL)
    assert os.path.exists(path)
    with open_page(run_folder, tmp_path) as page:
        assert not os.path.exists(path)
        close(page, Client(page.port), signal.SIGHUP)


def test_a_password_is_asked_for_and_never_printed(run_folder, tmp_path, png):
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    environment = {AUTH_VARIABLE: f"me:{PASSWORD}"}
    with open_page(run_folder, tmp_path, "--host", "::1", environment=environment) as page:
        assert f"The page is open at http://[::1]:{page.port} " in page.log
        client = Client(page.port, "::1")
        assert client.get("/config")[0] == 401
        assert client.post_files([("a.png", png(), "image/png")])[0] == 401
        assert client.join([None, "x", 0.35, True, 0], 1)[0] == 401
        assert client.get("/gradio_api/queue/data?session_hash=a")[0] in (401, 404)
        assert client.get(f"/gradio_api/file={page.folder}/a/b.png")[0] in (401, 403)
        assert PASSWORD not in client.get("/")[2].decode()
        form = "application/x-www-form-urlencoded"
        for words in ("wrong", "", PASSWORD + "x", "\0", "ä" * 100):
            login = urllib.parse.urlencode({"username": "me", "password": words}).encode()
            assert client.post("/login", login, form)[0] in (400, 422), words
        start = time.monotonic()
        with ThreadPoolExecutor(12) as pool:
            guesses = list(pool.map(lambda _: client.post("/login", login, form)[0], range(12)))
        assert set(guesses) == {400, 429}
        assert time.monotonic() - start >= GUESS_SECONDS * guesses.count(400)
        login = urllib.parse.urlencode({"username": "me", "password": PASSWORD}).encode()
        status, headers, _ = client.request("POST", "/login", login, {"Content-Type": form})
        assert status == 200
        client.cookie = "; ".join(c.split(";")[0] for c in headers.get_all("set-cookie"))
        assert "Box score" in client.ask(as_file(client.upload("a.png", png())), "red box")
        assert PASSWORD not in json.dumps(json.loads(client.get("/config")[2]))
        close(page, client, signal.SIGTERM)
    assert PASSWORD not in page.log


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def predict(*arguments):
    """(exit code, standard error) of predict.py --serve that does not open a page."""
    environment = {key: value for key, value in os.environ.items() if key != AUTH_VARIABLE}
    command = [sys.executable, str(ROOT / "predict.py"), "--serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    return done.returncode, done.stderr


def test_other_machines_are_let_in_on_purpose_only():
    """Decided before anything is loaded: the missing weights are not reached."""
    nowhere = ("--weights", "nowhere.h5")
    code, said = predict("--host", "0.0.0.0", *nowhere)
    assert code == 2
    assert said.startswith("error: other machines can reach the page at --host 0.0.0.0: ")
    assert said.count("\n") == 1
    code, said = predict("--auth", "secret-word", *nowhere)
    assert (code, said.count("\n")) == (2, 1)
    assert "must have the form user:password" in said
    assert "secret-word" not in said
    for allowed in (["--public"], ["--auth", "me:secret"]):
        code, said = predict("--host", "0.0.0.0", *allowed, *nowhere)
        assert code == 2
        assert "nowhere.h5: no such weight file" in said
    assert predict("--public", "--auth", "me:secret")[0] == 2


def test_missing_gradio_is_reported(monkeypatch, tiny_set, capsys, tmp_path):
    from utils.page import uploads
    from utils.page.server import serve

    monkeypatch.setattr(uploads.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gradio", None)
    before = signal.getsignal(signal.SIGTERM)
    assert exit_code(lambda: serve(tiny_set.config()), "hint") == 2
    assert "pip install -r requirements-page.txt" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    assert list(tmp_path.iterdir()) == []
