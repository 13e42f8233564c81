"""Type annotations are complete on everything that others may call."""

import ast

import pytest

from tests.test_imports import FILES, ROOT


def missing_annotations(tree):
    """Yields "line: name: what is missing" for the public functions and methods of a module."""
    for function, in_class in _public_functions(tree):
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args]
        if in_class and not _is_static(function):
            named = named[1:]  # self or cls
        named += [*arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        missing = [argument.arg for argument in named if argument and argument.annotation is None]
        missing += ["return"] if function.returns is None else []
        if missing:
            yield f"{function.lineno}: {function.name}: {', '.join(missing)}"


def _public_functions(scope):
    """Yields (function, whether it is a method); functions inside functions are nobody's API."""
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in scope.body:
        if not isinstance(node, definitions):
            continue
        if node.name.startswith("_") and node.name != "__init__":
            continue
        if isinstance(node, ast.ClassDef):
            yield from _public_functions(node)
        else:
            yield node, isinstance(scope, ast.ClassDef)


def _is_static(function):
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_are_annotated(path):
    assert list(missing_annotations(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_the_check_sees_what_it_looks_for():
    source = """
def complete(a: int, *rest: int, b: int = 1, **more: int) -> None:
    def inner(x): ...
def bare(a, *rest, b=1, **more): ...
def _private(a): ...
class Public:
    def __init__(self, a): ...
    def method(self, a: int): ...
    @classmethod
    def of(cls, a: int) -> "Public": ...
    @staticmethod
    def static(a) -> None: ...
    def _private(self, a): ...
    def __call__(self, a): ...
class _Private:
    def method(self, a): ...
"""
    assert list(missing_annotations(ast.parse(source))) == [
        "4: bare: a, b, rest, more, return",
        "7: __init__: a, return",
        "8: method: return",
        "12: static: a",
    ]
