"""What the documents name exists: files, links, commands, flags, settings and packages."""

import ast
import functools
import itertools
import json
import re
import shlex
import subprocess
import sys

import pytest

from config.schema import load_config
from tests.test_imports import FILES, ROOT

DOCUMENTS = [
    *sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]),
    ROOT / "data" / "README.md",
    ROOT / "benchmarks" / "README.md",
]
TOP_LEVEL = {path.name for path in ROOT.iterdir() if not path.name.startswith(".venv")}
# Folders that commands write, relative to the project.
GENERATED = tuple(
    line.strip("/")
    for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    if line.startswith("/")
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAKE_TARGETS = re.compile(r"^([a-z+ -]+):(?!=)", re.MULTILINE)


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(text, language):
    return [body for found, body in FENCE.findall(text) if found == language]


def inline_codes(text):
    return INLINE.findall(FENCE.sub("", text))


def anchors(path):
    """The anchors that GitHub gives to the headings of a document."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def broken_links(path, text):
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            yield target


def missing_files(text):
    """Paths in inline code that begin with a folder of the project, or are names of modules."""
    modules = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    names = {path.name for path in modules}
    for code in inline_codes(text):
        if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*/?", code):
            continue
        first = code.split("/")[0]
        if "/" in code and first in TOP_LEVEL - {"assets"}:
            if not code.startswith(GENERATED) and not (ROOT / code).exists():
                yield code
        elif re.fullmatch(r"\w+\.py", code) and code not in names:
            yield code


def commands(script):
    """The commands of a shell script as lists of words."""
    text = re.sub(r"\\\n\s*", " ", script)
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def python_commands(script):
    """The arguments after `python` of the commands that run this project's programs."""
    for words in commands(script):
        while words and re.fullmatch(r"[A-Z_]+=.*|do|then", words[0]):
            words = words[1:]
        if words and words[0] in ("python", ".venv/bin/python"):
            arguments = words[1:]
            if arguments[:1] != ["-m"] or arguments[1].split(".")[0] in TOP_LEVEL:
                yield arguments


@functools.cache
def help_of(*program):
    done = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{program}: {done.stderr[-1000:]}"
    return done.stdout


def faults_of_command(arguments):
    """Yields what a command line names that does not exist."""
    length = 2 if arguments[0] == "-m" else 1
    program, rest = arguments[:length], arguments[length:]
    if program[0].rpartition("/")[2] == "ground.py":  # An export copies it to a folder.
        program = ["utils/export/ground.py"]
    script = ROOT / (f"{program[1].replace('.', '/')}" if length == 2 else program[0])
    if not any(p.exists() for p in (script, script.with_suffix(".py"), script / "__main__.py")):
        yield f"no program {program[-1]}"
        return
    text = help_of(*program)
    subcommands = re.search(r"\{([\w,]+)\} \.\.\.|COMMAND \.\.\.", text)
    if subcommands and rest and not rest[0].startswith("-"):
        text = help_of(*program, rest[0])
    flags = {"--help"} | set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text.split("\n\n", 1)[0]))
    yield from (f"no flag {word}" for word in rest if word.startswith("--") and word not in flags)
    config = "config/config.json"
    for flag, value in itertools.pairwise(rest):
        if flag == "--config" and value.startswith("config/"):
            config = value
    changes, taking = [], False
    for word in rest:
        taking = word == "--set" if word.startswith("-") else taking and "=" in word
        if taking and word != "--set":
            changes.append(word)
    # The settings of data that is still to be imported are those of the default config.
    load_config(ROOT / config, changes)


def test_every_document_is_read():
    assert {"README.md", "CONTRIBUTING.md", "docs/distributed.md"} <= set(map(name_of, DOCUMENTS))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_and_files_exist(path):
    text = path.read_text(encoding="utf-8")
    assert [*broken_links(path, text), *missing_files(text)] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_exist(path):
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for names in MAKE_TARGETS.findall(makefile) for name in names.split()}
    for script in [*blocks(text, "bash"), *inline_codes(text)]:
        if "python " in script:
            for arguments in python_commands(script):
                assert list(faults_of_command(arguments)) == [], arguments
        for words in commands(script) if re.search(r"(^|\n)make ", script) else []:
            if words[0] == "make":
                named = {word for word in words[1:] if "=" not in word}
                assert named <= targets, script


def shown_by_programs():
    """The example commands of docstrings and of the shipped configs."""
    for path in FILES:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for block in re.findall(r"(?:^ {4}.*\n?)+", docstring, re.MULTILINE):
            if block.lstrip().startswith("python "):
                yield pytest.param(block, id=name_of(path))
    for path in sorted((ROOT / "config").glob("*.json")):
        for line in json.loads(path.read_text(encoding="utf-8")).get("about", []):
            if "python " in line:
                yield pytest.param("python " + line.split("python ", 1)[1], id=name_of(path))


@pytest.mark.parametrize("script", [*shown_by_programs()])
def test_commands_that_programs_show_exist(script):
    shown = list(python_commands(script))
    assert shown
    for arguments in shown:
        assert list(faults_of_command(arguments)) == [], arguments


def test_commands_of_the_makefile_exist():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    variables = dict(re.findall(r"^(\w+) \??:?= (.+)$", text, re.MULTILINE))
    recipes = re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], ""), text)
    shown = list(python_commands(recipes))
    assert ["train.py", "--config", "config/demo.json"] in shown
    for arguments in shown:
        assert list(faults_of_command(arguments)) == [], arguments


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_python_examples_import_what_exists(path):
    for body in blocks(path.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in TOP_LEVEL:
                module = ROOT / node.module.replace(".", "/")
                file = module.with_suffix(".py")
                file = file if file.exists() else module / "__init__.py"
                source = file.read_text(encoding="utf-8")
                for name in node.names:
                    assert re.search(rf"\b{name.name}\b", source), f"{node.module}.{name.name}"


def requirements(pattern):
    """Package → version of the pins in the files that match."""
    pins = {}
    for path in ROOT.glob(pattern):
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"([\w.-]+)==([\w.]+)", line):
                pins[match[1]] = match[2]
    return pins


def test_every_dependency_has_its_purpose_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("## Dependencies")[1].split("##")[0]
    named = {name for row in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
             for name in row.split(", ")} - {"package"}  # fmt: skip
    assert named == set(requirements("requirements*.txt"))


def test_pins_stand_in_one_place():
    direct = requirements("requirements*.txt")
    assert set(direct).isdisjoint(requirements("constraints.txt"))
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+==[\d.]+", hooks)) == {f"ruff=={direct['ruff']}"}


def test_citation_names_the_paper_of_the_readme():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    authors = re.findall(r"family-names: (\w+)", citation)
    assert authors == ["Luo", "Zhou", "Sun", "Cao", "Wu", "Deng", "Ji"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for key in ("title", "url"):
        assert re.search(rf"^  {key}: (.+)$", citation, re.MULTILINE)[1] in readme


def test_the_checks_see_what_they_look_for(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("# One `two`, three!\n", encoding="utf-8")
    assert list(broken_links(path, "[a](a.md#one-two-three) [b](b.md) [c](#four)")) == [
        "b.md", "#four",
    ]  # fmt: skip
    text = "`config/nowhere.json` `config/config.json` `data/anns/x.txt` `nothing.py` `mcn.py`"
    assert list(missing_files(text)) == ["config/nowhere.json", "nothing.py"]
    script = "A=1 python train.py \\\n  --set lr=1 # python x\nls | wc && python -m utils.no\n"
    shown = list(python_commands(script))
    assert shown == [["train.py", "--set", "lr=1"], ["-m", "utils.no"]]
    assert list(faults_of_command(shown[0])) == []
    assert list(faults_of_command(shown[1])) == ["no program utils.no"]
    assert list(faults_of_command(["train.py", "--no"])) == ["no flag --no"]
    with pytest.raises(ValueError, match="batchsize"):
        list(faults_of_command(["train.py", "--set", "batchsize=8"]))


@pytest.mark.parametrize(("name", "count"), [("reliability", 60), ("fidelity", 20)])
def test_every_row_names_its_test(name, count):
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    tables = re.findall(r"\| test \|\n\|[-|]+\n((?:\|.*\n)+)", text)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > count
    for row in rows:
        column = row.rsplit(" | ", 1)[1]
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", column)
        assert tests or column.startswith("no test: "), row
        for file, function in tests:
            source = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^ *def {function}\(", source, re.MULTILINE), row
