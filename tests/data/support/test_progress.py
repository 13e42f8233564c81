"""Plain lines where there is no terminal, a bar where there is one."""

import contextlib
import datetime
import errno
import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import time
import types

import numpy as np
import pytest

from data.support.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The library's clock, which advances only when a test says so: `clock.now`, in seconds."""
    clock = types.SimpleNamespace(now=1_700_000_000.0)

    class Datetime(datetime.datetime):
        @classmethod
        def now(cls):
            return cls.fromtimestamp(clock.now)

    library = types.SimpleNamespace(time=lambda: clock.now, mktime=time.mktime)
    monkeypatch.setattr("progressbar.bar.time", library)
    timer = types.SimpleNamespace(default_timer=lambda: clock.now)
    monkeypatch.setattr("progressbar.bar.timeit", timer)
    monkeypatch.setattr("progressbar.bar.datetime", Datetime)
    monkeypatch.setattr("data.support.progress.datetime", Datetime)
    return clock


def run(clock, total, seconds, unit="img", steps=None, stream=None):
    """Reports work whose items take `seconds` each; returns what was written."""
    stream = io.StringIO() if stream is None else stream
    with Progress(total, "epoch 3", unit, stream=stream) as bar:
        for done in range(1, (total if steps is None else steps) + 1):
            clock.now += seconds
            bar.update(done, loss=2.0 / done)
    return stream.getvalue()


def lines_of(text):
    """Lines without control characters; " | " stands for two or more spaces."""
    assert not set(text) & {"\r", "\x1b", "\b"}
    return [re.sub(" {2,}", " | ", line) for line in text.splitlines()]


def test_one_line_per_tenth(clock):
    lines = lines_of(run(clock, total=50, seconds=1.0))
    assert len(lines) == 10
    assert lines[0] == "epoch 3 | 10% | 5/50 | 1.0 img/s | 0:00:45 left | loss=0.4"
    assert lines[-1] == "epoch 3 | 100% | 50/50 | 1.0 img/s | in 0:00:50 | loss=0.04"


def test_quick_work_is_one_line(clock):
    assert lines_of(run(clock, total=100, seconds=1 / 64)) == [
        "epoch 3 | 100% | 100/100 | 64.0 img/s | in 0:00:01 | loss=0.02"
    ]


def test_lines_are_two_seconds_apart_at_least(clock):
    assert len(lines_of(run(clock, total=1000, seconds=0.01))) == 5


def test_slow_work_writes_a_line_every_five_minutes(clock):
    lines = lines_of(run(clock, total=1000, seconds=101.0, steps=30))
    assert len(lines) == 11
    assert lines[0] == "epoch 3 | 0% | 3/1,000 | 101.0 s/img | 1 day, 3:58:17 left | loss=0.6667"


def test_rate_follows_recent_speed(clock):
    stream = io.StringIO()
    bar = Progress(200, "epoch 1", stream=stream)
    clock.now += 600
    bar.update(1)
    for done in range(2, 101):
        clock.now += 1
        bar.update(done)
    assert lines_of(stream.getvalue())[-1] == "epoch 1 | 50% | 100/200 | 1.0 it/s | 0:01:40 left"
    for done in range(101, 201):
        clock.now += 1
        bar.update(done)
    bar.finish()
    # The last line tells the mean.
    assert lines_of(stream.getvalue())[-1].endswith("200/200 | 0.3 it/s | in 0:13:19")


def test_bytes_of_unknown_total(clock):
    stream = io.StringIO()
    with Progress(None, "glove.zip", "B", stream=stream) as bar:
        clock.now += 250
        bar.update(500 << 20)
        clock.now += 51
        bar.update(602 << 20)
        clock.now += 1
        bar.update(604 << 20)
    assert lines_of(stream.getvalue()) == [
        "glove.zip | 602.0 MiB | 2.0 MiB/s",
        "glove.zip | 604.0 MiB | 2.0 MiB/s | in 0:05:02",
    ]


def test_bytes_of_known_total(clock):
    stream = io.StringIO()
    with Progress(5 << 30, "train2014.zip", "B", stream=stream) as bar:
        clock.now += 512
        bar.update(1 << 30)
    first = lines_of(stream.getvalue())[0]
    assert first == "train2014.zip | 20% | 1.0 GiB/5.0 GiB | 2.0 MiB/s | 0:34:08 left"


def test_values_of_any_kind(clock):
    stream = io.StringIO()
    bar = Progress(2, "x", stream=stream)
    bar.update(1, name="val", count=12345, loss=0.000123456, left=None)
    clock.now += 1
    bar.finish(acc=np.float32(0.5))
    bar.finish()
    assert lines_of(stream.getvalue()) == [
        "x | 50% | 1/2 | 1.0 it/s | in 0:00:01 | "
        "acc=0.5, name=val, count=12345, loss=0.0001235, left=None"
    ]


def test_the_rate_does_not_count_what_an_earlier_run_completed(clock):
    stream = io.StringIO()
    with Progress(100, "file", start=50, stream=stream) as bar:
        for done in range(51, 101):
            clock.now += 1
            bar.update(done)
    lines = lines_of(stream.getvalue())
    assert len(lines) == 5
    assert lines[0] == "file | 60% | 60/100 | 1.0 it/s | 0:00:40 left"
    assert lines[-1] == "file | 100% | 100/100 | 1.0 it/s | in 0:00:50"


def test_nothing_to_do(clock):
    assert lines_of(run(clock, total=0, seconds=1)) == ["epoch 3 | 100% | 0/0 | 0.0 img/s"]


def test_a_terminal_gets_a_bar(clock):
    shown = run(clock, total=4, seconds=1.0, stream=Terminal())
    assert shown.startswith("\repoch 3    0%  ....")
    assert re.search(r" 50%  #+\.*  2/4 +1\.0 img/s  0:00:02 left  loss=1", shown)
    assert re.search(r"100%  .*  4/4 +1\.0 img/s  in 0:00:04  loss=0\.5 *\n$", shown)
    assert "█" not in shown  # This stream has no encoding that could show it.


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (120, "#+\\.+ | 62/124 | 1.0 img/s | 0:01:02 left | loss=1, left=2 h, xy=0.1, wh=0.2"),
        (87, "62/124 | 1.0 img/s | 0:01:02 left | loss=1, left=2 h, xy=0.1, wh=0.2"),
        (79, "1.0 img/s | 0:01:02 left | loss=1, left=2 h, xy=0.1, wh=0.2"),
        (71, "1.0 img/s | 0:01:02 left | loss=1, left=2 h, xy=0.1"),
        (44, "1.0 img/s | 0:01:02 left"),
        (30, "1.0 img/s | 0:01:02 left"),
    ],
)
def test_a_terminal_shows_what_fits(clock, monkeypatch, columns, shown):
    """Cut in the middle of a value, or wrapped, a line could not be read or replaced."""
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    bar = Progress(124, "epoch 3/35", "img", stream=stream)
    for done in range(1, 63):
        clock.now += 1
        bar.update(done, loss=1.0, left="2 h", xy=0.1, wh=0.2)
    bar.log("draws the bar again", file=stream)
    line = stream.getvalue().split("\r")[-1].rstrip()
    assert len(line) <= max(columns, 44)
    expected = f"epoch 3/35 | 50% | {shown}".replace("|", "\\|")
    assert re.fullmatch(expected, re.sub(" {2,}", " | ", line))


def test_a_bar_that_does_not_last_leaves_nothing(clock):
    stream = Terminal()
    with Progress(2, "epoch 1", stream=stream, lasting=False) as bar:
        bar.update(2)
    assert "epoch 1" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "\n" not in stream.getvalue()
    lines = io.StringIO()
    with Progress(2, "epoch 1", stream=lines, lasting=False) as bar:
        clock.now += 0.5
        bar.update(2)
    assert lines_of(lines.getvalue()) == ["epoch 1 | 100% | 2/2 | 4.0 it/s | in 0:00:00"]


def test_a_bar_that_nothing_was_reported_for_shows_no_rate_of_an_earlier_run(clock):
    stream = Terminal()
    Progress(1000, "file", "B", start=500, stream=stream)
    clock.now += 1e-4
    assert "0.0 B/s" in stream.getvalue()
    assert "left" not in stream.getvalue()


def test_a_logged_text_does_not_tear_the_bar(capsys):
    for stream in (Terminal(), io.StringIO()):
        bar = Progress(10, "work", stream=stream)
        bar.update(5)
        before = stream.getvalue()
        bar.log("found it")
        assert capsys.readouterr().out == "found it\n"
        drawn = stream.getvalue().removeprefix(before)
        assert ("50%" in drawn and drawn.startswith("\r\x1b[K")) == stream.isatty()
        assert stream.isatty() or drawn == ""
        bar.log("went wrong", file=stream)
        assert "went wrong\n" in stream.getvalue()
        bar.abandon()


def test_terminal_bar_of_unknown_total():
    stream = Terminal()
    with Progress(None, "glove.zip", "B", stream=stream) as bar:
        bar.update(5_000)
    assert "4.9 KiB" in stream.getvalue()


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
        with Progress(total, "label", unit=unit, start=start) as bar:
            bar.update(2)
            bar.update(3 if total != 3000 else 3500)
    shown = read_all(leader)
    assert "label" in shown
    assert "/s" in shown
    assert ("100%" in shown) == (total is not None)


@pytest.mark.parametrize("on_terminal", [False, True])
def test_work_goes_on_when_its_terminal_is_closed(clock, on_terminal):
    class Closed(io.StringIO):
        closed_now = False

        def isatty(self):
            return on_terminal

        def write(self, text):
            if self.closed_now:
                raise OSError(errno.EIO, "Input/output error")
            return super().write(text)

    stream, done = Closed(), 0
    with Progress(100, "epoch 3", stream=stream) as bar:
        for done in range(1, 101):
            clock.now += 5
            stream.closed_now = done > 50
            bar.update(done)
            bar.log("a line", file=stream)
    assert done == 100
    assert "50" in stream.getvalue()


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed()])
def test_work_needs_no_standard_error(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    done = 0
    with Progress(10, "epoch 3") as bar:
        for done in range(1, 11):
            bar.update(done)
    assert done == 10


@pytest.mark.parametrize("columns", [0, 1, 2, 5, 20])
def test_no_terminal_is_too_narrow(columns):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 10, columns, 0, 0))
    with os.fdopen(follower, "w") as terminal, Progress(3, "epoch 3", stream=terminal) as bar:
        for done in (1, 2, 3):
            bar.update(done, loss=0.5)
    assert "100%" in read_all(leader)
