"""Signals to stop: raised, deferred, and fatal the second time."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from config.signals import DUPLICATE_WITHIN_S, Stopped, deferred_stop, stop_signals

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("number", EXIT_CODES)
def test_a_signal_raises_in_the_block(number):
    cleaned = []
    before = signal.getsignal(number)

    def interrupted():
        with stop_signals():
            try:
                os.kill(os.getpid(), number)
                signal.pause()
            finally:
                cleaned.append(True)

    with pytest.raises(Stopped) as caught:
        interrupted()
    assert caught.value.exit_code == EXIT_CODES[number]
    assert isinstance(caught.value, KeyboardInterrupt)
    assert cleaned
    assert signal.getsignal(number) is before


def test_a_deferred_signal_waits_until_it_is_asked_for(capfd):
    with stop_signals(), deferred_stop() as stop:
        assert not stop.requested
        stop.raise_if_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(Stopped):
            stop.raise_if_requested()
        stop._number = None
    assert "a second signal ends at once" in capfd.readouterr().err


def test_a_deferred_signal_raises_at_the_end_at_the_latest(capfd):
    def block():
        with stop_signals(), deferred_stop():
            os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(Stopped, match="SIGHUP"):
        block()


def test_without_handlers_nothing_is_deferred():
    with pytest.raises(KeyboardInterrupt), deferred_stop() as stop:
        signal.raise_signal(signal.SIGINT)
    assert not stop.requested


def test_other_threads_handle_nothing():
    entered = []

    def use():
        with stop_signals():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGTERM)]


COMMAND = """
import signal, sys, time
from config.command_line import run
from config.signals import deferred_stop

def main():
    with deferred_stop() as stop:
        print("ready", flush=True)
        while True:
            time.sleep(0.02)
            if sys.argv[1] == "asks" and stop.requested:
                time.sleep(0.2)
                print("saved", flush=True)
                stop.raise_if_requested()

run(main, "Run it again.")
"""


def command(how, number, times=1, between_s=0.0):
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.stderr.readline()  # Empty; the signal has arrived.
        for _ in range(times - 1):
            time.sleep(between_s)
            process.send_signal(number)
        out, err = process.communicate(timeout=20)
    return process.returncode, out, err


@pytest.mark.parametrize("number", EXIT_CODES)
def test_a_command_saves_and_says_how_to_resume(number):
    code, out, err = command("asks", number)
    assert (code, out) == (EXIT_CODES[number], "saved\n")
    assert err.endswith("Stopped. Run it again.\n")
    assert "Traceback" not in err


def test_a_second_signal_ends_at_once():
    code, out, err = command("never asks", signal.SIGTERM, 2, DUPLICATE_WITHIN_S + 0.2)
    assert (code, out) == (143, "")
    assert "Stopped." not in err


def test_a_signal_that_is_delivered_twice_is_one_request():
    """A launcher signals the whole job, and a parent forwards the signal to the command."""
    code, out, err = command("asks", signal.SIGTERM, 2, 0.05)
    assert (code, out) == (143, "saved\n")
    assert err.endswith("Stopped. Run it again.\n")


@pytest.mark.parametrize(
    ("ignored", "stops"), [(signal.SIGHUP, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_a_signal_that_is_ignored_stays_ignored(ignored, stops):
    """As SIGHUP after nohup. The others are deferred all the same."""
    with subprocess.Popen(
        ["sh", "-c", f"trap '' {ignored.name[3:]}; exec {sys.executable} -c '{COMMAND}' asks"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(ignored)
        process.send_signal(stops)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (128 + stops, "saved\n")
