"""Plain lines where there is no terminal, a bar where there is one."""

import contextlib
import io
import os
import pty
import sys

import progressbar
import pytest

from data.support.progress import Progress, bytes_text


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Seconds that pass as told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(total, seconds, unit="img", steps=None, stream=None):
    """A piece of work whose items take `seconds` each; returns what was written."""
    clock, stream = Clock(), io.StringIO() if stream is None else stream
    with Progress(total, "epoch 3", unit, stream=stream, clock=clock) as bar:
        for done in range(1, (steps or total) + 1):
            clock.now += seconds
            bar.update(done, loss=2.0 / done)
    return stream.getvalue()


def test_a_line_each_tenth():
    lines = run(total=50, seconds=1.0).splitlines()
    assert len(lines) == 10
    assert lines[0] == "epoch 3   10 %  5/50  1.0 img/s  0:45 left  loss 0.4"
    assert lines[-1] == "epoch 3  100 %  50/50  in 0:50  1.0 img/s  loss 0.04"


def test_quick_work_is_one_line():
    assert run(total=100, seconds=0.01).splitlines() == [
        "epoch 3  100 %  100/100  in 0:01  100 img/s  loss 0.02"
    ]


def test_slow_work_speaks_every_five_minutes():
    lines = run(total=1000, seconds=100.0, steps=30).splitlines()
    assert len(lines) == 11
    assert lines[0] == "epoch 3    0 %  3/1,000  100.0 s/img  27:41:40 left  loss 0.6667"


def test_rate_follows_recent_speed():
    clock, stream = Clock(), io.StringIO()
    bar = Progress(200, "epoch 1", stream=stream, clock=clock)
    clock.now += 600
    bar.update(1)
    for done in range(2, 102):
        clock.now += 1
        bar.update(done)
    assert "1.0 it/s" in stream.getvalue().splitlines()[-1]
    assert "1:40 left" in stream.getvalue().splitlines()[-1]


def test_bytes_of_unknown_total():
    clock, stream = Clock(), io.StringIO()
    with Progress(None, "glove.zip", "B", stream=stream, clock=clock) as bar:
        clock.now += 301
        bar.update(602_000_000)
        clock.now += 1
        bar.update(604_000_000)
    assert stream.getvalue().splitlines() == [
        "glove.zip  602.0 MB  2.0 MB/s",
        "glove.zip  604.0 MB  in 5:02  2.0 MB/s",
    ]


def test_values_of_any_kind():
    stream, clock = io.StringIO(), Clock()
    bar = Progress(2, "x", stream=stream, clock=clock)
    bar.update(1, name="val", count=12345, loss=0.000123456, left=None)
    bar.finish(acc=0.5)
    bar.finish()
    assert stream.getvalue() == (
        "x   50 %  1/2  in 0:00  name val  count 12345  loss 0.0001235  left None  acc 0.5\n"
    )


def test_what_an_earlier_run_did_does_not_count_for_the_rate():
    clock, stream = Clock(), io.StringIO()
    with Progress(100, "file", start=50, stream=stream, clock=clock) as bar:
        for done in range(51, 101):
            clock.now += 1
            bar.update(done)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0] == "file   60 %  60/100  1.0 it/s  0:40 left"
    assert lines[-1] == "file  100 %  100/100  in 0:50  1.0 it/s"


def test_nothing_to_do():
    assert run(total=0, seconds=1, steps=0).startswith("epoch 3  100 %  0/0")


def test_terminal_gets_a_bar():
    shown = run(total=4, seconds=1.0, stream=Terminal())
    assert "\r" in shown
    assert "100%" in shown
    assert "4/4  in 0:04  1.0 img/s  loss 0.5" in shown
    assert shown.endswith("\n")
    assert "█" not in shown  # This stream has no encoding that could show it.


def test_the_bar_makes_room_for_a_text(capsys):
    for stream in (Terminal(), io.StringIO()):
        bar = Progress(10, "work", stream=stream, clock=Clock())
        bar.update(5)
        before = stream.getvalue()
        bar.say("found it")
        assert capsys.readouterr().out == "found it\n"
        drawn = stream.getvalue().removeprefix(before)
        assert ("50%" in drawn and drawn.startswith("\r\x1b[K")) == stream.isatty()
        assert stream.isatty() or drawn == ""
        bar.say("went wrong", file=stream)
        assert "went wrong\n" in stream.getvalue()
        bar.abandon()


def test_terminal_bar_of_unknown_total():
    stream = Terminal()
    with Progress(None, "glove.zip", "B", stream=stream) as bar:
        bar.update(5_000)
    assert "5.0 kB" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_work_that_breaks_off_does_not_look_finished(stream):
    def broken_off():
        with Progress(10, "epoch 1", stream=stream) as bar:
            bar.update(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert "10/10" not in stream.getvalue()
    assert "100" not in stream.getvalue()
    assert not stream.getvalue() or stream.getvalue().endswith("\n")


def read_all(leader):
    """What was written to a pseudo-terminal whose other end is closed."""
    shown = b""
    with contextlib.suppress(OSError):  # how Linux tells the end
        while chunk := os.read(leader, 100_000):
            shown += chunk
    os.close(leader)
    return shown.decode()


@pytest.mark.parametrize(
    ("total", "unit", "start"), [(3, "it", 1), (None, "it", 0), (3000, "B", 2), (None, "B", 0)]
)
def test_standard_error_that_is_a_terminal_gets_a_bar(monkeypatch, total, unit, start):
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        # The library writes to what standard error was when it was imported.
        monkeypatch.setattr(progressbar.streams, "original_stderr", terminal)
        with Progress(total, "label", unit=unit, start=start) as bar:
            bar.update(2)
            bar.update(3 if total != 3000 else 3500)
    shown = read_all(leader)
    assert "label" in shown
    assert "/s" in shown
    assert ("100%" in shown) == (total is not None)


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7 bytes"), (1500, "1.5 kB"), (862_182_613, "862.2 MB"), (13_510_573_713, "13.5 GB")],
)
def test_bytes_text(count, text):
    assert bytes_text(count) == text
