"""The picture of the page in the README is drawn by one command."""

import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from config.command_line import exit_code
from config.errors import UserError
from config.schema import PROJECT_ROOT
from utils.page import screenshot
from utils.page.browser import open_browser


def test_without_chromium_the_picture_stays_as_it_is(tmp_path, monkeypatch, capsys):
    pytest.importorskip("selenium")
    path = tmp_path / "page.jpg"
    path.write_bytes(b"earlier")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    arguments = ["--output", str(path)]
    assert exit_code(lambda: screenshot.main([*arguments, "--overwrite"]), "hint") == 2
    said = capsys.readouterr().err
    assert f"{path} is not drawn: Chromium and its driver are not installed" in said
    assert exit_code(lambda: screenshot.main(arguments), "hint") == 2
    assert "exists already; name another file, or replace it by --overwrite" in (
        capsys.readouterr().err
    )
    assert exit_code(lambda: screenshot.main(["--output", "page.png"]), "hint") == 2
    assert "name a file that ends with .jpg" in capsys.readouterr().err
    assert path.read_bytes() == b"earlier"


@pytest.mark.parametrize("broken", [("chromium", "chromedriver"), ("chromium",)])
def test_a_browser_that_does_not_start_is_one_sentence(tmp_path, monkeypatch, broken):
    pytest.importorskip("selenium")
    if not all(shutil.which(name) for name in ("chromium", "chromedriver") if name not in broken):
        pytest.skip("the driver is not installed")
    for name in broken:
        program = tmp_path / name
        program.write_text("#!/bin/sh\nexit 3\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with (
        pytest.raises(UserError, match=r"chromium does not start with [^;]*; install both in one"),
        open_browser(tmp_path / "profile"),
    ):
        pass


@pytest.mark.slow
def test_the_page_is_drawn_with_an_answer(tmp_path):
    pytest.importorskip("gradio", reason="pip install -r requirements-page.txt")
    pytest.importorskip("selenium")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no Chromium with its driver (Debian: chromium, chromium-driver)")
    path = tmp_path / "page.jpg"
    command = [sys.executable, "-m", "utils.page.screenshot", "--output", str(path)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"The page with the answer to an example is in {path}" in done.stdout
    with Image.open(path) as drawn:
        assert drawn.format == "JPEG"
        assert drawn.width == 1280
        assert drawn.height > 1200  # Attention maps are below the answer.
