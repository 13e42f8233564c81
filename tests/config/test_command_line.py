"""How a program ends: with a sentence, a traceback, or a hint how to go on."""

import functools
import multiprocessing
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from config.command_line import BAD_INPUT, INTERRUPTED, counted, run
from config.schema import ConfigError, load_config
from data.loading.pipeline import DataError
from tests.tiny import network_config
from utils.training.trainer import TrainingError


def raising(error):
    def main():
        raise error

    return main


def ours(error):
    """A `main` whose error is raised inside a module of the project."""

    def main():
        namespace = {"__name__": "data.somewhere", "error": error}
        exec("raise error", namespace)

    return main


def exit_code(main):
    with pytest.raises(SystemExit) as stop:
        run(main, "run it again")
    return stop.value.code


@pytest.mark.parametrize(
    "error",
    [ValueError("bad line"), ConfigError("bad key"), DataError("bad image"), TrainingError("nan")],
)
def test_our_errors_are_one_sentence(error, capsys):
    assert exit_code(ours(error)) == BAD_INPUT
    assert capsys.readouterr().err == f"error: {error}\n"


def test_files_that_cannot_be_used_are_one_sentence(capsys):
    assert exit_code(Path("/none/such").read_bytes) == BAD_INPUT
    assert capsys.readouterr().err.startswith("error: [Errno 2]")


def test_errors_of_a_real_call_are_one_sentence(capsys):
    assert exit_code(lambda: network_config(batch_size=1).replace(batch_size="x")) == BAD_INPUT
    assert "batch_size" in capsys.readouterr().err


def broken():
    """Raises the RuntimeError of a generator that stops in the wrong way."""
    yield next(iter(()))


def test_errors_of_libraries_keep_their_traceback():
    for main in (lambda: int("x" * 3), raising(KeyError("x")), lambda: next(broken())):
        with pytest.raises((ValueError, KeyError, RuntimeError)):
            run(main, "")


def test_tracebacks_on_request(monkeypatch):
    monkeypatch.setenv("MCN_TRACEBACK", "1")
    with pytest.raises(ConfigError):
        run(ours(ConfigError("bad key")), "")


def test_interrupted_from_the_keyboard(capsys):
    assert exit_code(raising(KeyboardInterrupt())) == INTERRUPTED
    assert capsys.readouterr().err == "\nStopped. run it again\n"


@pytest.mark.parametrize(("value", "code"), [(None, None), (0, 0), (3, 3)])
def test_the_exit_code_is_that_of_main(value, code):
    assert exit_code(lambda: value) == code


def test_nothing_of_ours_shows_in_the_exit_of_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from config.schema import load_config
        from config.command_line import run
        run(lambda: load_config("none.json"), "")
        """)
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env={"PYTHONPATH": "."}
    )
    assert done.returncode == BAD_INPUT
    assert done.stderr.startswith("error: none.json: no such file")
    assert done.stderr.count("\n") == 1


def other_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def test_errors_of_another_process_are_one_sentence(capsys):
    main = functools.partial(other_process, load_config, "/none/such.json")
    assert exit_code(main) == BAD_INPUT
    assert capsys.readouterr().err.startswith("error: /none/such.json: no such file")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "1 (a)"),
        (list("abc"), "3 (a; b; c)"),
        (["a"] * 4321, "4,321 (a; a; a and 4,318 more)"),
    ],
)
def test_names_are_counted_and_the_first_shown(names, text):
    assert counted(names) == text


def test_it_is_light():
    code = "import sys, config.command_line; print({'tensorflow', 'numpy'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "set()\n"
