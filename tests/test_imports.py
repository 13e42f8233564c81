"""Who may import whom, and what a program may not load before it knows what it is asked for.

train.py test.py predict.py → utils/ → data/, model/ → config/
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"config", "data", "model", "utils"}
COMMAND_LINE = {"data.command_line", "data.progress", "data.image_files.DataError"}
MAY_IMPORT = {
    "config": {"config"},
    "data": {"config", "data"},
    "model": {"config", "model"},
    "utils": ROOMS,
    # And what all command lines of data/ have in common: how they end, bars, errors.
    "entry point": {"config", "utils", *COMMAND_LINE},
}
HEAVY = ("tensorflow", "keras", "keras_hub", "spacy", "tf2onnx", "onnxruntime")

FILES = sorted(
    [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
)


def imported_modules(path):
    """Every module that a file imports, inside functions too, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def may_import(allowed, module):
    return any(f"{module}.".startswith(f"{room}.") for room in allowed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    room = path.relative_to(ROOT).parts[0] if path.parent != ROOT else "entry point"
    ours = [m for m in imported_modules(path) if m[0].split(".")[0] in ROOMS | {"tests"}]
    wrong = [(m, line) for m, line in ours if not may_import(MAY_IMPORT[room], m)]
    assert wrong == []


def test_all_rooms_are_looked_at():
    rooms = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert rooms >= ROOMS | {"train.py", "test.py"}
    # Arrows that are there for certain: the check above sees them.
    imported = {m for m, _ in imported_modules(ROOT / "utils" / "training.py")}
    assert {"data.pipeline.TrainingSet", "model.mcn.build_mcn"} <= imported


def test_a_forbidden_arrow_is_seen(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from model.mcn import build_mcn\n    import utils.training\n")
    found = [m for m, _ in imported_modules(file)]
    assert found == ["model.mcn.build_mcn", "utils.training"]
    assert not any(may_import(MAY_IMPORT["data"], module) for module in found)
    assert not may_import(MAY_IMPORT["entry point"], "data.pipeline.TrainingSet")
    assert may_import(MAY_IMPORT["entry point"], "data.command_line.run")


def reads_config_in_a_layer(tree):
    """Classes whose code names the config object."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            names |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
            if "config" in names:
                yield node.name


@pytest.mark.parametrize("path", sorted((ROOT / "model").glob("*.py")), ids=lambda path: path.name)
def test_layers_take_plain_values(path):
    found = list(reads_config_in_a_layer(ast.parse(path.read_text(encoding="utf-8"))))
    assert found == []


HELP = """
import runpy, sys
sys.argv = {arguments!r}
try:
    runpy.{run}
except SystemExit as stop:
    code = stop.code
print("EXIT", code, sorted(set(sys.modules) & set({heavy!r})))
"""

PROGRAMS = {
    "train.py": "run_path('train.py', run_name='__main__')",
    "test.py": "run_path('test.py', run_name='__main__')",
    "predict.py": "run_path('predict.py', run_name='__main__')",
    "data/data_process.py": "run_path('data/data_process.py', run_name='__main__')",
    "data/make_demo.py": "run_path('data/make_demo.py', run_name='__main__')",
    "utils.pretrain": "run_module('utils.pretrain', run_name='__main__', alter_sys=True)",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_loads_nothing_heavy(program):
    if program.endswith(".py") and not (ROOT / program).exists():
        pytest.skip(f"there is no {program}")
    code = HELP.format(arguments=[program, "--help"], run=PROGRAMS[program], heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "EXIT 0 []", done.stdout + done.stderr
    assert "usage:" in done.stdout
