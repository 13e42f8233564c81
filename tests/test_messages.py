"""What the messages of the programs name exists: files, sections, commands, flags and downloads."""

import ast
import re

import pytest

from data.acquisition.archives import SOURCES
from tests.test_documents import GENERATED, help_of, name_of
from tests.test_imports import FILES, ROOT

PATH = re.compile(
    r"(?<![\w./-])(?:config|data|docs|model|utils|tests|benchmarks)/[\w/.+-]+\.(?:md|py|json|txt)\b"
)
COMMAND = re.compile(r"python ((?:-m [\w.]+|[\w/]+\.py)[^`;,()\n]*)")
SECTION = re.compile(r"(\S+\.md), section '([^']+)'")


def texts(path):
    """The texts in a module, docstrings too, with "{}" in place of what is filled in."""
    inside = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield node.value


def faults(text):
    """Yields what a text names that does not exist."""
    for path in PATH.findall(text):
        if not (ROOT / path).exists() and not path.startswith(GENERATED):
            yield f"no file {path}"
    for document, heading in SECTION.findall(text):
        headings = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(encoding="utf-8"), re.M)
        if heading not in headings:
            yield f"no section {heading}"
    for command in COMMAND.findall(text):
        words = command.split()
        program = words[:2] if words[0] == "-m" else words[:1]
        file = program[-1].replace(".", "/") if words[0] == "-m" else program[0]
        if words[0] == "-m" and not (ROOT / file.split("/")[0]).is_dir():
            continue  # a program of another project, such as spacy
        if file.endswith("ground.py"):
            continue  # runs in the folder of a bundle
        if not any((ROOT / f"{file}{end}").is_file() for end in ("", ".py", "/__main__.py")):
            yield f"no program {program[-1]}"
            continue
        rest = words[len(program) :]
        flags = [word for word in rest if re.fullmatch(r"--[a-z_-]+", word)]
        known = re.findall(r"--[a-z][\w-]*", help_of(*program)) if flags else []
        if file == "model/weights" and rest:
            known += re.findall(r"--[a-z][\w-]*", help_of(*program, rest[0]))
        yield from (f"no flag {flag}" for flag in flags if flag not in known)
        if file == "data/download.py":
            names = [word for word in rest if re.fullmatch(r"[a-z0-9.+-]+", word)]
            yield from (f"no download {n}" for n in names if n not in SOURCES and n[0] != "-")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_messages_name_exists(path):
    found = [(text, fault) for text in texts(path) for fault in faults(text)]
    assert found == []


def test_the_check_sees_what_it_looks_for(tmp_path):
    module = tmp_path / "bad.py"
    module.write_text(
        'def f(x):\n    return f"{x}: see docs/none.md" + "and `python data/no.py`"\n'
    )
    assert [fault for text in texts(module) for fault in faults(text)] == [
        "no file docs/none.md",
        "no file data/no.py",
        "no program data/no.py",
    ]
    assert list(faults("run python data/download.py darknet vvg --outptu DIR")) == [
        "no flag --outptu",
        "no download vvg",
    ]
    assert list(faults("data/README.md, section 'Word vectors', data/anns/refcoco/x.txt")) == []
    assert list(faults("data/README.md, section 'Words'")) == ["no section Words"]
