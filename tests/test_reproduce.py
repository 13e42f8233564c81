"""`make refcoco` in small: a local web server offers a set of the published layout."""

import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from config.errors import UserError
from data.acquisition.archives import SOURCES
from data.download import main as download
from tests.data.acquisition.web_server import WebServer
from tests.data.raw_set import FIXTURE
from tests.test_imports import ROOT
from tests.tiny import NETWORK, RUN
from utils.reproduce import Plan, reproduce, run_program

pytestmark = pytest.mark.slow

SCRIPTS = ("data/download.py", "data/data_process.py", "data/check.py", "train.py", "test.py")


def zipped(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def raw_files():
    names = ("instances.json", "refs(unc).p")
    return {f"refcoco/{name}": (FIXTURE / "refcoco" / name).read_bytes() for name in names}


def photographs():
    """Noise of the sizes that the raw set states."""
    rng, files = np.random.default_rng(0), {}
    instances = json.loads((FIXTURE / "refcoco" / "instances.json").read_text())
    for image in instances["images"]:
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG")
        files[f"train2014/{image['file_name']}"] = content.getvalue()
    return files


def vectors():
    rng = np.random.default_rng(0)
    text = (FIXTURE / "refcoco" / "refs(unc).json").read_text()
    lines = (
        f"{word} {' '.join(f'{x:.3f}' for x in rng.normal(size=8))}\n"
        for word in sorted({*re.findall("[a-z]+", text)})
    )
    return {"glove.6B.300d.txt": "".join(lines).encode()}


@pytest.fixture
def server(monkeypatch):
    """The web server; `data/download.py` finds everything there."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with WebServer() as server:
        for name, files in (
            ("refcoco", raw_files()), ("coco-train2014", photographs()), ("glove", vectors())
        ):  # fmt: skip
            content = zipped(files)
            (archive,) = SOURCES[name].downloads
            url, _ = server.add(archive.file, content)
            small = replace(
                archive,
                urls=(url,),
                n_files=len(files),
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
            monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], downloads=(small,)))
        yield server


@pytest.fixture
def plan(tmp_path):
    changes = NETWORK | RUN | {"epoches": 1, "log_path": str(tmp_path / "log")}
    return Plan(
        dataset="refcoco",
        backbone="darknet",
        data=tmp_path / "data",
        output=tmp_path / "result",
        changes=tuple(f"{key}={json.dumps(value)}" if isinstance(value, list) else f"{key}={value}"
                      for key, value in changes.items()),
    )  # fmt: skip


def runner(done, fail=None):
    """Runs the real programs, and notes which; downloads run here, where the server is known."""

    def run(arguments):
        if arguments[0] == fail:
            raise UserError("stopped here")
        done.append(arguments[0])
        if arguments[0] == "data/download.py":
            assert download(arguments[1:]) == 0
        else:
            run_program(arguments)

    return run


def test_from_the_downloads_to_the_table(server, plan):
    done = []
    for fail in ("data/check.py", "test.py"):
        with pytest.raises(UserError, match="stopped here"):
            reproduce(plan, runner(done, fail))
    table = reproduce(plan, runner(done))
    assert [name for name in done if name != "data/download.py"] == [
        "data/data_process.py", "data/check.py", "train.py", "data/check.py", "train.py", "test.py"
    ]  # fmt: skip

    assert table == (plan.output / "README.md").read_text()
    assert table.startswith("# RefCOCO, Darknet-53\n")
    for split, (published, _) in {"val": (80.61, 63.12), "testB": (75.51, 60.99)}.items():
        result = json.loads((plan.output / f"refcoco_{split}/result.json").read_text())
        ours = 100 * result["det_acc"]
        assert f"| {split} | {ours:.2f} | {published:.2f} | {ours - published:+.2f} |" in table
    assert "- 1 epoch in 0.0 hours" in table
    assert "- tensorflow: " in table
    weights = plan.weights.read_bytes()
    assert hashlib.sha256(weights).hexdigest() in table

    # Everything is complete: nothing is prepared or evaluated again, and training says so.
    again = []
    assert reproduce(plan, runner(again)) == table
    assert again == ["data/download.py", "data/check.py", "train.py"]
    assert plan.weights.read_bytes() == weights

    # Results of other settings, and damaged ones, are not those that are asked for.
    others = replace(plan, changes=(*plan.changes, "segment_thresh=0.9"))
    again.clear()
    assert reproduce(others, runner(again)) != table
    assert again[-1] == "test.py"
    (plan.output / "refcoco_val" / "result.json").write_text("{}")
    with pytest.raises(UserError, match="stopped here"):
        reproduce(others, runner(again, "test.py"))


def test_lines_that_were_changed_are_prepared_again(server, plan):
    done = []
    with pytest.raises(UserError, match="stopped here"):
        reproduce(plan, runner(done, "data/check.py"))
    path = plan.data / "anns/refcoco/val.txt"
    lines = path.read_text()
    path.unlink()
    with pytest.raises(UserError, match="stopped here"):
        reproduce(plan, runner(done, "data/check.py"))
    assert done.count("data/data_process.py") == 2
    assert path.read_text() == lines


def test_a_program_that_fails_is_named():
    with pytest.raises(UserError, match=r"data/check\.py ended with exit code 2, see above"):
        run_program(["data/check.py", "--config", "nowhere.json"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_program_once_and_is_awaited(tmp_path, number):
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, sys, time\n"
        "got = []\n"
        "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, lambda n, _: got.append(n))\n"
        "print('ready', flush=True)\n"
        "while not got: time.sleep(0.05)\n"
        "time.sleep(1)\n"
        "print('saved', list(map(int, got)), flush=True)\n"
    )
    code = (
        "from config.command_line import run\nfrom utils.reproduce import run_program\n"
        f"run(lambda: run_program([{str(program)!r}]), 'again')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while "ready" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.2)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"saved [{int(number)}]" in out
    assert "Stopped. again" in err
