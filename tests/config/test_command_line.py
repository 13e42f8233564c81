"""Exit codes, error messages, tracebacks, and the arguments that all commands share."""

import argparse
import functools
import io
import multiprocessing
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from config import command_line
from config.command_line import (
    BAD_INPUT,
    INTERRUPTED,
    add_config_arguments,
    add_output_argument,
    add_set_argument,
    add_weights_argument,
    counted,
    not_negative,
    run,
    say,
)
from config.errors import ConfigError, NoSpaceError, UserError
from config.schema import PROJECT_ROOT, load_config
from config.signals import deferred_stop
from test import _parser as evaluation_parser
from tests.tiny import network_config


@pytest.mark.parametrize("text", ["-3", "1.5", "", "many"])
def test_a_number_of_things_is_not_negative(text, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=not_negative)
    assert parser.parse_args(["--pictures", "0"]).pictures == 0
    with pytest.raises(SystemExit):
        parser.parse_args([f"--pictures={text}"])
    assert f"--pictures: expected an integer of at least 0, not {text!r}" in capsys.readouterr().err


def test_pictures_of_test_are_not_negative(capsys):
    with pytest.raises(SystemExit):
        evaluation_parser().parse_args(["--pictures", "-3"])
    assert "at least 0" in capsys.readouterr().err


def run_script(script, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
    )


def raising(error):
    def main():
        raise error

    return main


def exit_code(main):
    with pytest.raises(SystemExit) as stop:
        run(main, "run it again")
    return stop.value.code


class DerivedError(UserError):
    """An error of another package."""


@pytest.mark.parametrize(
    "error",
    [
        UserError("bad line"),
        ConfigError("bad key"),
        NoSpaceError("full"),
        DerivedError("bad image"),
    ],
)
def test_errors_for_people_are_one_sentence(error, capsys):
    assert exit_code(raising(error)) == BAD_INPUT
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize(("on_terminal", "start"), [(False, ""), (True, "\r\x1b[K")])
def test_a_line_takes_the_place_of_a_bar_on_a_terminal_only(on_terminal, start):
    stream = io.StringIO()
    stream.isatty = lambda: on_terminal
    say("warning: a step is skipped", stream)
    assert stream.getvalue() == f"{start}warning: a step is skipped\n"


def test_what_would_control_a_terminal_is_escaped(capsys):
    assert exit_code(raising(UserError("missing:\n  a\x1b[31m.png\n  b\r.png"))) == BAD_INPUT
    assert capsys.readouterr().err == "error: missing:\n  a\\x1b[31m.png\n  b\\r.png\n"
    assert exit_code(Path("/none/\x1b[2J").read_bytes) == BAD_INPUT
    assert "\x1b" not in capsys.readouterr().err


def test_files_that_cannot_be_used_are_one_sentence(capsys):
    assert exit_code(Path("/none/such").read_bytes) == BAD_INPUT
    expected = "error: /none/such: cannot be used (No such file or directory)\n"
    assert capsys.readouterr().err == expected
    assert exit_code(Path("x" * 5000).read_bytes) == BAD_INPUT
    assert capsys.readouterr().err == f"error: {'x' * 100}…: cannot be used (File name too long)\n"


def test_errors_of_a_real_call_are_one_sentence(capsys):
    assert exit_code(lambda: network_config(batch_size=1).replace(batch_size="x")) == BAD_INPUT
    assert "batch_size" in capsys.readouterr().err


def test_all_other_errors_keep_their_traceback():
    """Also those that a library raises on behalf of a line of ours, without a frame of its own."""
    mains = {
        lambda: np.ones(3) + np.ones(4): "could not be broadcast",
        lambda: int("x" * 3): "invalid literal",
        raising(ValueError("bad line")): "bad line",
        raising(TypeError("bad type")): "bad type",
        raising(RuntimeError("broken")): "broken",
        raising(KeyError("x")): "x",
    }
    for main, message in mains.items():
        with pytest.raises((ValueError, TypeError, KeyError, RuntimeError), match=message):
            run(main, "")


def test_a_broadcasting_error_in_a_script_shows_its_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import numpy as np
        from config.command_line import run
        def main():
            return np.ones(3) + np.ones(4)
        run(main, "")
        """)
    )
    done = run_script(script)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "return np.ones(3) + np.ones(4)" in done.stderr
    assert "error: " not in done.stderr


def test_tracebacks_on_request(monkeypatch):
    monkeypatch.setenv("MCN_TRACEBACK", "1")
    with pytest.raises(ConfigError):
        run(raising(ConfigError("bad key")), "")


def test_interrupted_from_the_keyboard(capsys):
    assert exit_code(raising(KeyboardInterrupt())) == INTERRUPTED
    assert capsys.readouterr().err == "\nStopped. run it again\n"


@pytest.mark.parametrize("begun", [False, True])
def test_a_stop_before_anything_has_begun_has_its_own_hint(capsys, begun):
    def main():
        with deferred_stop() as stop:
            stop.begun = begun
            signal.raise_signal(signal.SIGTERM)

    assert command_line.exit_code(main, "resume it", "run it again") == 128 + signal.SIGTERM
    hint = "resume it" if begun else "run it again"
    assert capsys.readouterr().err.splitlines()[-1] == f"Stopped. {hint}"


@pytest.mark.parametrize(("value", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_that_of_main(value, code):
    assert exit_code(lambda: value) == code


def test_a_script_ends_without_a_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from config.schema import load_config
        from config.command_line import run
        run(lambda: load_config("none.json"), "")
        """)
    )
    done = run_script(script)
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


@pytest.mark.parametrize("name", ["train.py", "test.py"])
def test_help_of_the_entry_points_is_clean(name, tmp_path):
    done = run_script(PROJECT_ROOT / name, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--config FILE" in done.stdout
    assert ("--weights FILE" in done.stdout) == (name == "test.py")


def test_config_arguments():
    parser = add_config_arguments(argparse.ArgumentParser())
    given = parser.parse_args([])
    assert given.config == str(PROJECT_ROOT / "config" / "config.json")
    assert given.overrides == []
    given = parser.parse_args(
        ["--config", "x.json", "--set", "lr=1", "seed=2", "--set", "batch_size=3"]
    )
    assert (given.config, given.overrides) == ("x.json", ["lr=1", "seed=2", "batch_size=3"])


def test_single_arguments():
    parser = argparse.ArgumentParser()
    add_set_argument(parser)
    add_weights_argument(parser, help="weights to evaluate")
    add_output_argument(parser, default="result", help="folder of the results")
    given = parser.parse_args([])
    assert (given.overrides, given.weights, given.output) == ([], None, "result")
    given = parser.parse_args(["--weights", "a.h5", "--output", "b", "--set", "lr=1"])
    assert (given.overrides, given.weights, given.output) == (["lr=1"], "a.h5", "b")
    shown = " ".join(parser.format_help().split())
    assert "--weights FILE weights to evaluate" in shown
    assert "--output DIR folder of the results (default: result)" in shown


@pytest.mark.parametrize("name", ["--weights", "--output", "--config"])
def test_empty_names_are_refused(name, capsys):
    parser = add_config_arguments(argparse.ArgumentParser(), of_weights=True)
    add_weights_argument(parser)
    add_output_argument(parser, default="result")
    with pytest.raises(SystemExit):
        parser.parse_args([name, ""])
    message = f"argument {name}: expected a name, but the argument is empty"
    assert message in capsys.readouterr().err


def test_an_output_folder_that_the_command_chooses():
    parser = argparse.ArgumentParser()
    add_output_argument(parser, default=None, help="folder (default: beside the input)")
    assert parser.parse_args([]).output is None
    assert parser.format_help().count("default") == 1


def test_it_is_light():
    code = "import sys, config.command_line; print({'tensorflow', 'numpy'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("script", ["train.py", "test.py", "predict.py"])
def test_help_fits_any_terminal(script):
    """Its arrows and dashes are not part of Latin-1."""
    done = subprocess.run(
        [sys.executable, script, "--help"],
        cwd=PROJECT_ROOT,
        env={"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


OUTPUT = """
import sys
from config.command_line import run, say

def main():
    for line in range(100_000):
        {function}("a line of some length that fills the pipe")
    with open(sys.argv[1], "w") as file:
        file.write("finished")

run(main, "again")
"""


@pytest.mark.parametrize(("function", "code"), [("print", 141), ("say", 0)])
def test_output_that_nobody_reads_ends_a_command_unless_it_only_says_something(
    tmp_path, function, code
):
    path = tmp_path / "done"
    with subprocess.Popen(
        [sys.executable, "-c", OUTPUT.format(function=function), path],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (code, b"")
    assert path.exists() == (function == "say")


def test_an_error_raised_in_c_keeps_its_traceback():
    def main():
        np.zeros(2) + np.zeros(3)

    with pytest.raises(ValueError, match="could not be broadcast"):
        run(main, "again")


def test_closed_streams_are_not_replaced_by_files_that_are_opened_later(tmp_path):
    code = """
import os
from config.command_line import run

def main():
    with open("file", "wb") as file:
        os.write(1, b"native")
        os.write(2, b"native")
        file.write(b"content")
    print("said")
    return 5

run(main, "again")
"""
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -c '{code}' <&- >&- 2>&-"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT_ROOT)},
        check=False,
    )
    assert done.returncode == 5
    assert (tmp_path / "file").read_bytes() == b"content"
