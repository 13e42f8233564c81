"""The Python examples of the documents run, also from a program outside the clone."""

import os
import re
import subprocess
import sys

import pytest

from tests.test_imports import ROOT
from utils.prediction.jobs import jobs_from_list

pytestmark = pytest.mark.slow


def example(name, number=0):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number]


def run(code, folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_the_example_of_the_library_prints_what_the_document_shows():
    text = (ROOT / "docs/library.md").read_text(encoding="utf-8")
    shown = text.split("prints\n\n```\n")[1].split("```")[0].splitlines()
    done = run(example("docs/library.md"), ROOT)
    assert done.returncode == 0, done.stderr
    for line, expected in zip(done.stdout.splitlines(), shown, strict=True):
        # Processors round differently, which can move a pixel of the mask.
        assert line.split(", mask of")[0] == expected.split(", mask of")[0]


def test_the_example_of_the_readme_runs_elsewhere(tmp_path):
    code = example("README.md").replace('"data/', f'"{ROOT}/data/')
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    (shown,) = jobs_from_list(ROOT / "data/demo_model/scenes.jsonl")[:1]
    assert [line.split(" [")[0] for line in done.stdout.splitlines()] == [*shown.expressions]
    assert list(tmp_path.iterdir()) == []
