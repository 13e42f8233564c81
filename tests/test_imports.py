"""Which module may import which, and what a command may not load before it knows its task.

train.py test.py predict.py → utils/ → data/, model/ → config/
"""

import ast
import functools
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WINGS = ("config", "data", "model", "utils")
MAY_IMPORT = {
    "config": {"config"},
    "data": {"config", "data"},
    "model": {"config", "model"},
    "utils": {"config", "data", "model", "utils"},
    "entry point": {"config", "utils", "data.support"},
}
# What a module may import beyond that, with the reason.
EXCEPTIONS = {
    "data.download": ({"model.weights.inspection"}, "identifies weight files by their content"),
    "data.view": ({"utils.visualization"}, "draws boxes and masks as all other pictures show them"),
}
# The packages of a wing from top to bottom: each may import those of the same line and below, in
# no circle. "" are modules at the wing's own level that are no commands.
ORDER = {
    "data": (
        {"commands"},
        {"preparation", "acquisition", "synthetic"},
        {"loading", "text"},
        {"support"},
        {""},
    ),
    "model": (
        {"weights"},
        {""},
        {"heads", "backbones", "text_encoders"},
        {"layers"},
    ),
    "utils": (
        {"commands"},
        {"page", "export", "training"},
        {"evaluation"},
        {"prediction"},
        {"visualization"},
        {""},
    ),
}
SCRIPTS = (
    "train.py",
    "test.py",
    "predict.py",
    "data/check.py",
    "data/data_process.py",
    "data/download.py",
    "data/import_jsonl.py",
    "data/make_demo.py",
    "data/view.py",
)
# Commands run as `python -m`; scripts of data/ can be run so, too.
MODULE_COMMANDS = (
    "model.weights",
    "utils.evaluation.compare",
    "utils.export",
    "utils.page.screenshot",
    "utils.pretrain",
    "utils.reproduce",
    "utils.showcase",
)
COMMANDS = {
    "utils.pretrain",
    "utils.reproduce",
    "utils.showcase",
    "utils.evaluation.compare",
    "utils.export.__main__",
    "utils.page.screenshot",
    "model.weights.__main__",
    *(s[:-3].replace("/", ".") for s in SCRIPTS if "/" in s),
}
MOST_MODULES = 12
# Entry points and commands import what they run inside their functions, so that --help loads
# nothing heavy. Anywhere else an import inside a function needs a reason.
IMPORTS_INSIDE_FUNCTIONS = {
    "config.bert.folder": ({"keras_hub"}, "optional package"),
    "config.quiet": ({"tensorflow"}, "silences the messages of this very import"),
    "data.preparation.raw.parquet": ({"pyarrow"}, "optional package"),
    "data.preparation.segmentation": ({"pycocotools"}, "not needed for masks that are images"),
    "data.text.pipeline_vectors": ({"spacy"}, "slow to load, and cached vectors do not need it"),
    "data.text.sources": ({"spacy"}, "slow to load, and cached word vectors do not need it"),
    "model.weights": ({"model"}, "`python -m model.weights inspect` does not load TensorFlow"),
    "model.weights.layouts": ({"model"}, "`python -m model.weights inspect`, too"),
    "utils.page.browser": ({"selenium"}, "optional package"),
    "utils.prediction.engines.conversion": ({"onnx", "tf2onnx"}, "optional packages"),
    "utils.prediction.engines.onnxruntime_engine": ({"onnxruntime"}, "optional package"),
    "utils.prediction.engines.openvino_engine": ({"openvino"}, "optional package"),
    "utils.page.app": ({"gradio", "starlette"}, "optional package, and what it is built on"),
    "utils.visualization.curves": ({"matplotlib"}, "slow to load, and evaluation draws no curves"),
}
HEAVY = (
    "tensorflow",
    "keras",
    "keras_hub",
    "spacy",
    "tf2onnx",
    "onnxruntime",
    "openvino",
    "matplotlib",
)

FILES = sorted([*ROOT.glob("*.py"), *(p for wing in WINGS for p in (ROOT / wing).rglob("*.py"))])
FOLDERS = sorted({path.parent for path in FILES} - {ROOT})


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@functools.cache
def imports(path, inside_functions=True):
    """(dotted name, line) of every import; a `from` import names what it imports too."""
    return tuple(_imports(ast.parse(path.read_text(encoding="utf-8")), path, inside_functions))


def _imports(tree, path, inside_functions):
    nested = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if id(node) in nested and not inside_functions:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("module", MODULES)
def test_imports_inside_functions_are_few_and_have_a_reason(module):
    path = MODULES[module]
    at_the_top = set(imports(path, inside_functions=False))
    inside = {name.split(".")[0] for name, line in set(imports(path)) - at_the_top}
    if path.parent == ROOT or module in COMMANDS:
        assert inside <= {*WINGS}
    else:
        assert inside == IMPORTS_INSIDE_FUNCTIONS.get(module, (set(), ""))[0]


def module_graph(paths=None):
    """Module → the modules of ours that it imports, inside functions too."""
    graph = {}
    for name, path in (paths or MODULES).items():
        found = set()
        for imported, _ in imports(path):
            target = imported
            while target and target not in MODULES:
                target = target.rpartition(".")[0]
            if target and target != name:
                found.add(target)
        graph[name] = found
    return graph


def loops(graph):
    """The sets of nodes that reach each other, of more than one node."""
    reach = {node: set(targets) for node, targets in graph.items()}
    changed = True
    while changed:
        changed = False
        for targets in reach.values():
            more = set().union(*(reach.get(t, set()) for t in targets)) - targets
            changed |= bool(more)
            targets |= more
    return {
        frozenset(o for o in reach if o in reach[node] and node in reach[o])
        for node in reach
        if node in reach[node]
    }


def package_of(module, wing):
    """The package of a wing that a module belongs to, "" for a module of the wing's own level."""
    parts = module.split(".")
    if module in COMMANDS and len(parts) == 2:
        return "commands"
    return parts[1] if len(parts) > 1 and (ROOT / wing / parts[1]).is_dir() else ""


def may_import(allowed, module):
    return any(f"{module}.".startswith(f"{package}.") for package in allowed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_wings_import_only_what_they_may(path):
    wing = path.relative_to(ROOT).parts[0] if path.parent != ROOT else "entry point"
    allowed = MAY_IMPORT[wing] | EXCEPTIONS.get(module_of(path), (set(), ""))[0]
    ours = [m for m in imports(path) if m[0].split(".")[0] in {*WINGS, "tests"}]
    assert [(m, line) for m, line in ours if not may_import(allowed, m)] == []


def test_no_two_modules_import_each_other():
    assert loops(module_graph()) == set()


def package_graph(wing):
    graph = defaultdict(set)
    for module, targets in module_graph().items():
        if module.split(".")[0] == wing:
            package = package_of(module, wing)
            inside = {package_of(t, wing) for t in targets if t.split(".")[0] == wing}
            graph[package] |= inside - {package}
    return dict(graph)


@pytest.mark.parametrize("wing", WINGS)
def test_no_loop_among_the_packages_of_a_wing(wing):
    assert loops(package_graph(wing)) == set()


@pytest.mark.parametrize("wing", ORDER)
def test_packages_import_in_the_documented_order(wing):
    level = {package: at for at, packages in enumerate(ORDER[wing]) for package in packages}
    graph = package_graph(wing)
    assert set(graph) <= set(level)
    wrong = [(a, b) for a, targets in graph.items() for b in targets if level[a] > level[b]]
    assert wrong == []


def test_the_checks_see_what_they_look_for(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from model.mcn import build_mcn\n    import utils.training\n")
    found = [m for m, _ in imports(file)]
    assert found == ["model.mcn.build_mcn", "utils.training"]
    assert not list(imports(file, inside_functions=False))
    assert not any(may_import(MAY_IMPORT["data"], module) for module in found)
    assert not may_import(MAY_IMPORT["entry point"], "data.loading.pipeline.TrainingSet")
    assert module_graph({"bad": file})["bad"] == {"model.mcn", "utils.training"}
    assert loops({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {frozenset("abc")}
    # Arrows that are certainly there.
    graph = module_graph()
    assert {"data.loading.pipeline", "model.mcn"} <= graph["utils.training.builder"]
    assert {path.relative_to(ROOT).parts[0] for path in FILES} >= {*WINGS, "train.py", "test.py"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_holds_few_modules(folder):
    assert len(list(folder.glob("*.py"))) <= MOST_MODULES


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_says_what_is_inside_and_where_to_start(folder):
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    named = [path.name for path in folder.glob("*.py") if path.name in docstring]
    named += [path.name for path in folder.iterdir() if path.is_dir() and path.name in docstring]
    assert "tart with" in docstring or "start there" in docstring, folder
    assert named, f"{folder}/__init__.py names no file of its folder"
    for name in re.findall(r"[\w/]+\.py\b", docstring):
        assert (folder / name).exists() or (ROOT / name).exists(), f"{folder}: there is no {name}"


def reads_config_in_a_layer(tree):
    """Classes whose code names the config object."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            names |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
            if "config" in names:
                yield node.name


@pytest.mark.parametrize(
    "path", sorted((ROOT / "model").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_layers_take_plain_values(path):
    assert list(reads_config_in_a_layer(ast.parse(path.read_text(encoding="utf-8")))) == []


HELP = """
import runpy, sys
sys.path[0] = {folder!r}
sys.argv = {arguments!r}
try:
    runpy.{run}
except SystemExit as stop:
    code = stop.code
print("EXIT", code, sorted(set(sys.modules) & set({heavy!r})))
"""


@pytest.mark.parametrize("program", [*SCRIPTS, *MODULE_COMMANDS])
def test_help_loads_nothing_heavy_from_any_directory(program, tmp_path):
    script = program in SCRIPTS
    run = (
        f"run_path({str(ROOT / program)!r}, run_name='__main__')"
        if script
        else f"run_module({program!r}, run_name='__main__', alter_sys=True)"
    )
    folder = str((ROOT / program).parent if script else ROOT)
    code = HELP.format(folder=folder, arguments=[program, "--help"], run=run, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code],
        # A module is found from the project alone, a script from anywhere.
        cwd=tmp_path if script else ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["EXIT 0 []"], done.stdout + done.stderr
    assert "usage:" in done.stdout
