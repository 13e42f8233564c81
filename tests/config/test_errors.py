"""Every public error class of the project derives from `UserError`."""

import ast

import pytest

from config.errors import MAX_SHOWN, shown
from tests.test_imports import FILES, ROOT

# Control flow inside one package; never shown to anybody.
INTERNAL = {"SkippedError", "MirrorError", "ConnectionLostError"}
BASE = "UserError"


def error_classes():
    """(class name, names of its bases) of every public class whose name ends with Error."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or node.name in INTERNAL:
                continue
            if node.name.endswith("Error") and not node.name.startswith("_"):
                bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
                yield pytest.param(node.name, bases, id=f"{path.relative_to(ROOT)}:{node.name}")


CLASSES = list(error_classes())
BASES = dict(param.values for param in CLASSES)


@pytest.mark.parametrize(("name", "bases"), CLASSES)
def test_errors_derive_from_the_common_base(name, bases):
    assert name == BASE or set(bases) & set(BASES), f"{name}({', '.join(bases)})"


def test_the_base_and_some_errors_are_found():
    assert BASES[BASE] == ["ValueError"]
    assert {"ConfigError", "NoSpaceError", "WeightsError"} <= set(BASES)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("red kite", '"red kite"'),
        ("Drachen ß", '"Drachen ß"'),
        ([1, None, {"a": True}], '[1, null, {"a": true}]'),
        ("\x1b[2J\x9b\ud800\n", '"\\u001b[2J\\x9b\\ud800\\n"'),
        (10**5000, "a number of thousands of digits"),
        ({1, 2}, "{1, 2}"),
        ("x" * 10**6, '"' + "x" * (MAX_SHOWN - 1) + "…"),
        (list(range(10**6)), str(list(range(100)))[:MAX_SHOWN] + "…"),
        (nested(10**5), "[" * MAX_SHOWN + "…"),
    ],
    ids=range(9),
)
def test_values_are_quoted_in_part_and_on_one_line(value, text):
    assert shown(value) == text
