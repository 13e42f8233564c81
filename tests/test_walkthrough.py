"""The notebook runs, and what is stored in it is what it prints.

`python -m tests.test_walkthrough` runs it and stores its outputs anew, pictures as JPEG alone.
"""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_imports import ROOT

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-\d+)?")
NOTEBOOK = ROOT / "docs" / "walkthrough.ipynb"


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


def executed():
    """The notebook after a run in its folder, without what only one run has."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        kept = []
        for output in cell.get("outputs", []):
            if output.output_type != "stream":
                output.data.pop("image/png", None)
                kept.append(output)
            elif output.name == "stdout" and kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text  # It may come in several parts.
            elif output.name == "stdout":
                kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    return notebook


def outputs(cell):
    """What a cell shows: its text or the sizes of its pictures, and the numbers in it apart."""
    shown = "\n".join(
        output.text if output.output_type == "stream" else output.data["text/plain"]
        for output in cell.get("outputs", [])
    )
    return NUMBER.sub("0", shown), [float(number) for number in NUMBER.findall(shown)]


def test_the_stored_notebook_is_small_and_of_no_machine(stored):
    assert NOTEBOOK.stat().st_size < 400_000
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|Users)/|\"image/png\"|execution_state", text)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [o for c in code for o in c.outputs if "image/jpeg" in o.get("data", {})]
    assert len(pictures) == 7


def test_links_of_the_notebook_lead_somewhere(stored):
    for cell in stored.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#:]+)\)", cell.source):
                assert (NOTEBOOK.parent / target).exists(), target


@pytest.mark.slow
def test_the_notebook_shows_what_is_stored(stored):
    run = executed()
    for cell, expected in zip(run.cells, stored.cells, strict=True):
        (text, numbers), (stored_text, stored_numbers) = outputs(cell), outputs(expected)
        assert text == stored_text, cell.source
        # Between processors, they differ in their last digits.
        assert numbers == pytest.approx(stored_numbers, rel=0.01, abs=0.002), cell.source
    last = "".join(output.text for output in run.cells[-2].outputs)
    before, after = map(float, re.search(r"([\d.]+) before, ([\d.]+) after", last).groups())
    assert after < before


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
