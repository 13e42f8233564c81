"""Signals that ask a command to stop: Ctrl-C, SIGTERM, and SIGHUP of a closed terminal."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Launchers signal the whole job while a parent forwards the same signal: one request, not two.
DUPLICATE_WITHIN_S = 0.5


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop.

    Attributes:
        number: of the signal.
        exit_code: 128 plus this number, as shells report it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.exit_code = number, 128 + number


class StopRequest:
    """Handles the signals of `STOPPING`, and tells whether one has arrived.

    The first signal raises `Stopped` in the main thread or, while stops are deferred, is only
    remembered. A second one ends the process at once, unless it is the same signal within
    `DUPLICATE_WITHIN_S`.

    Attributes:
        deferred: whether stops are deferred.
        begun: whether the command has begun what can be resumed; set by the command.
    """

    def __init__(self) -> None:
        self.deferred = self.begun = False
        self._number: int | None = None
        self._arrived_s = 0.0

    def __call__(self, number: int, _frame: FrameType | None = None) -> None:
        if self._number is not None:
            if number == self._number and time.monotonic() - self._arrived_s < DUPLICATE_WITHIN_S:
                return
            os._exit(128 + number)
        self._number, self._arrived_s = number, time.monotonic()
        if not self.deferred:
            raise Stopped(number)
        with suppress(OSError):  # The terminal may be gone. A handler must not use sys.stderr.
            os.write(2, b"\nStopping after this step; a second signal ends at once.\n")

    @property
    def number(self) -> int | None:
        """The number of the signal that has arrived, or None."""
        return self._number

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._number is not None

    def raise_if_requested(self) -> None:
        """Raises `Stopped` if a signal has arrived."""
        if self._number is not None:
            raise Stopped(self._number)


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Handles the signals to stop during the block, and restores their handlers afterwards.

    Signals that the process was told to ignore, such as SIGHUP by nohup, stay ignored. Outside the
    main thread, nothing is handled.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    earlier = {number: signal.signal(number, request) for number in heeded}
    try:
        yield request
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def deferred_stop() -> Iterator[StopRequest]:
    """Lets a signal wait during the block, which asks for it where it may stop.

    Without `stop_signals` around it, as in someone's own program, signals are left alone and the
    request never comes.

    Raises:
        Stopped: a signal arrived, and the block ended without asking for it.
    """
    handlers = map(signal.getsignal, STOPPING)  # Of which some may be ignored.
    request = next((h for h in handlers if isinstance(h, StopRequest)), StopRequest())
    request.deferred = True
    try:
        yield request
    finally:
        request.deferred = False
    request.raise_if_requested()


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Sets the handlers of `STOPPING` again after a block in which native code replaces them."""
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                if handler is not None:  # Native code had set it before.
                    signal.signal(number, handler)
