"""How the entry points end: a sentence for what a person can mend, a traceback for the rest."""

import os
import sys

# Exit codes: what was given cannot be used; stopped from the keyboard.
BAD_INPUT, INTERRUPTED = 2, 130


def run(main, resume_hint):
    """Calls an entry point's `main` and ends the process.

    Errors about files and settings are printed as one sentence (exit code 2), Ctrl-C with how to
    go on (exit code 130). The environment variable MCN_TRACEBACK=1 shows tracebacks for all.

    Args:
        main: function without arguments; returns an exit code or None.
        resume_hint: what to tell someone who pressed Ctrl-C.
    """
    # TensorFlow writes pages of start-up notes to the terminal unless told not to beforehand.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(f"\nStopped. {resume_hint}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError) as error:
        if os.environ.get("MCN_TRACEBACK") or not _for_people(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def _for_people(error):
    """Whether an error was raised by this project, whose messages say what to do."""
    if isinstance(error, OSError):
        return True
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    package = trace.tb_frame.f_globals.get("__name__", "").split(".")[0]
    return package in ("config", "data", "model", "utils", "__main__")
