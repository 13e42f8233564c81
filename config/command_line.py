"""What all commands share: their common arguments, exit codes and error messages."""

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from config.errors import UserError, message_of, printable
from config.schema import ENGINES, PROJECT_ROOT
from config.signals import Stopped, stop_signals

# Exit codes: bad input, interrupted from the keyboard, and output that nobody reads.
BAD_INPUT, INTERRUPTED, UNREAD = 2, 130, 141
NAMES_SHOWN = 3
ERASE_LINE = "\r\x1b[K"  # Of a terminal.
DEFAULT_CONFIG = "config/config.json"
# Value of --precision → the setting, None for that of the config.
PRECISIONS = {
    "auto": None, "float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16",
}  # fmt: skip


def run(main: Callable[[], int | None], resume_hint: str, early_hint: str | None = None) -> None:
    """Ends the process with the `exit_code` of an entry point's `main`."""
    sys.exit(exit_code(main, resume_hint, early_hint))


def exit_code(
    main: Callable[[], int | None], resume_hint: str, early_hint: str | None = None
) -> int:
    """Calls an entry point's `main` and turns its errors into messages and exit codes.

    A `UserError` or `OSError` is printed as one sentence, a signal to stop as the resume hint. All
    other exceptions propagate. The environment variable MCN_TRACEBACK=1 lets every error propagate.

    Args:
        main: function without arguments that returns an exit code or None.
        resume_hint: sentence shown after Ctrl-C, SIGTERM or SIGHUP that says how to resume.
        early_hint: shown instead before `StopRequest.begun` is set; None for the same.

    Returns:
        The exit code that `main` returns (0 for None), BAD_INPUT, or 128 plus the number of the
        signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, 141 if nobody reads the output.
    """
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Not every terminal is UTF-8.
    request = None
    try:
        with stop_signals() as request:
            return main() or 0
    except KeyboardInterrupt as stop:
        begun = request is not None and request.begun
        hint = resume_hint if begun or early_hint is None else early_hint
        say(f"\nStopped. {hint}", sys.stderr)
        return stop.exit_code if isinstance(stop, Stopped) else INTERRUPTED
    except BrokenPipeError:
        return UNREAD
    except (UserError, OSError) as error:
        if os.environ.get("MCN_TRACEBACK"):
            raise
        lines = map(printable, message_of(error).split("\n"))  # Paths may contain anything.
        say("error: " + "\n".join(lines), sys.stderr)
        return BAD_INPUT
    finally:
        _flush_output()


def _open_standard_streams() -> None:
    """Opens what a caller has closed of standard input, output and error, as in `train.py 2>&-`.

    Otherwise, a file that is opened later takes its place, and messages of native code are written
    into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def say(text: str, file: TextIO | None = None) -> None:
    """Prints a line, to standard output by default, and goes on if nobody can read it.

    For work that must not end with its terminal. On a terminal, the line takes the place of a bar
    that may be there; the bar's next report draws it below.
    """
    file = sys.stdout if file is None else file
    with suppress(OSError):
        on_terminal = file is not None and file.isatty()
        print(f"{ERASE_LINE if on_terminal else ''}{text}", file=file, flush=True)


def _flush_output() -> None:
    """Flushes standard output, or discards it: Python would complain about a closed pipe later."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def not_empty(text: str) -> str:
    """The `type` of arguments that name a file or folder: "" would be the current folder, or none.

    Raises:
        argparse.ArgumentTypeError: the text is empty, as that of an unset variable of a shell.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a name, but the argument is empty")
    return text


def fraction(text: str) -> float:
    """The `type` of arguments in 0..1.

    Raises:
        argparse.ArgumentTypeError: the text is no number of this range.
    """
    value = _float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, not {text!r}")
    return value


def any_number(text: str) -> float:
    """The `type` of arguments of any range.

    Raises:
        argparse.ArgumentTypeError: the text is no finite number.
    """
    value = _float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, not {text!r}")
    return value


def _float(text: str) -> float:
    """The number that a text is; NaN for any other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def not_negative(text: str) -> int:
    """The `type` of arguments that are a number of things, 0 for none.

    Raises:
        argparse.ArgumentTypeError: the text is no integer of at least 0.
    """
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 0, not {text!r}")
    return number


def add_config_arguments(
    parser: argparse.ArgumentParser, of_weights: bool = False
) -> argparse.ArgumentParser:
    """Adds `--config FILE` and `--set KEY=VALUE ...` to a parser, and returns it.

    Parsed values are `config` (path, str) and `overrides` (list of str), the arguments of
    `config.schema.load_config`.

    Args:
        parser: the parser of a command.
        of_weights: whether the settings follow from the weights by default; `config` is then None
            if the argument is omitted.
    """
    default = "the config.json beside the weights" if of_weights else DEFAULT_CONFIG
    parser.add_argument(
        "--config",
        default=None if of_weights else str(PROJECT_ROOT / DEFAULT_CONFIG),
        type=not_empty,
        metavar="FILE",
        help=f"JSON file of settings (default: {default})",
    )
    add_set_argument(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--set KEY=VALUE ...` to a parser; the parsed value is `overrides` (list of str)."""
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override settings of the file, e.g. --set batch_size=8 backbone=vgg; of two values "
        "for a key, the last one counts",
    )


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--engine` and `--precision`, which are short for settings, to a parser.

    The parser has `add_set_argument`; the arguments become part of its `overrides`.
    """
    parser.add_argument(
        "--engine",
        dest="overrides",
        action=_Setting,
        choices=ENGINES,
        help="what runs the network (default: the setting engine); docs/engines.md compares them",
    )
    parser.add_argument(
        "--precision",
        dest="overrides",
        action=_Setting,
        choices=list(PRECISIONS),
        help="type to compute in (default: auto, the setting precision); weights stay float32",
    )


class _Setting(argparse.Action):
    """Appends the value of an option to the overrides, as a setting of the option's name."""

    def __call__(self, parser, namespace, values, option_string=None):
        key = self.option_strings[0].removeprefix("--")
        value = PRECISIONS[values] if key == "precision" else values
        if value is not None:
            namespace.overrides = [*namespace.overrides, f"{key}={value}"]


def add_weights_argument(parser: argparse.ArgumentParser, help: str = "weights to load") -> None:
    """Adds `--weights FILE` to a parser; the parsed value is `weights` (str or None)."""
    parser.add_argument("--weights", type=not_empty, metavar="FILE", help=help)


def add_output_argument(
    parser: argparse.ArgumentParser,
    default: str | os.PathLike | None,
    help: str = "folder to write to",
) -> None:
    """Adds `--output DIR` to a parser; the parsed value is `output` (str or None).

    Args:
        parser: the parser of a command.
        default: the folder if the argument is omitted, relative to the current directory; None
            if the command chooses one, which `help` then describes.
        help: one sentence without the default.
    """
    default = None if default is None else os.fspath(default)
    described = help if default is None else f"{help} (default: {default})"
    parser.add_argument("--output", type=not_empty, metavar="DIR", default=default, help=described)


def counted(names: Sequence[str]) -> str:
    """The number of names and the first few of them: "7 (a; b; c and 4 more)"."""
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names):,} ({'; '.join(names[:NAMES_SHOWN])}{more})"
