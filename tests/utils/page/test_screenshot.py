"""The picture of the page in the README is drawn by one command."""

import shutil
import subprocess
import sys

import pytest
from PIL import Image

from config.command_line import exit_code
from config.schema import PROJECT_ROOT
from utils.page import screenshot


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
