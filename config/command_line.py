"""What the command lines have in common: how they end, and how they list names.

A sentence for what a person can mend, a traceback for the rest.
"""

import os
import sys

# Exit codes: what was given cannot be used; stopped from the keyboard.
BAD_INPUT, INTERRUPTED = 2, 130
NAMES_SHOWN = 3
_OURS = ("config", "data", "model", "utils", "__main__")


def run(main, resume_hint):
    """Ends the process with the `exit_code` of an entry point's `main`."""
    sys.exit(exit_code(main, resume_hint))


def exit_code(main, resume_hint):
    """Calls an entry point's `main`.

    Errors about files, settings and training are printed as one sentence, Ctrl-C with how to go
    on. The environment variable MCN_TRACEBACK=1 shows tracebacks for all.

    Args:
        main: function without arguments; returns an exit code or None.
        resume_hint: what to tell someone who pressed Ctrl-C.

    Returns:
        what `main` returns, BAD_INPUT or INTERRUPTED.
    """
    # TensorFlow writes pages of start-up notes to the terminal unless told not to beforehand.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return main()
    except KeyboardInterrupt:
        print(f"\nStopped. {resume_hint}", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("MCN_TRACEBACK") or not _for_people(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT


def counted(names):
    """How many names there are, and the first of them: "7 (a; b; c and 4 more)"."""
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names):,} ({'; '.join(names[:NAMES_SHOWN])}{more})"


def _for_people(error):
    """Whether an error was raised by this project, whose messages say what to do."""
    if isinstance(error, OSError) or _is_ours(type(error).__module__):
        return True  # An error that comes from another process has no trace of its own.
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return _is_ours(trace.tb_frame.f_globals.get("__name__", ""))


def _is_ours(module):
    return module.split(".")[0] in _OURS
