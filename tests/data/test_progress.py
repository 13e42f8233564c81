import contextlib
import os
import pty
import sys

import progressbar
import pytest

from data import progress
from data.progress import Progress, bytes_text


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_PAUSE", 0.0)
    with Progress(1000, "work", start=100) as bar:
        for done in range(101, 1001):
            bar.update(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "work: 200 of 1,000"
    assert lines[-1] == "work: 1,000 of 1,000"
    assert len(lines) == 9


def test_lines_come_at_most_every_two_seconds_but_for_the_last(capsys):
    with Progress(10, "work") as bar:
        for done in range(1, 11):
            bar.update(done)
    assert capsys.readouterr().err == "work: 10 of 10\n"


def test_bytes_without_a_known_end(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_PAUSE", 0.0)
    with Progress(None, "file", unit="B") as bar:
        bar.update(150_000_000)
        bar.update(160_000_000)
    assert capsys.readouterr().err == "file: 150.0 MB\n"


def read_all(leader):
    """What was written to a pseudo-terminal whose other end is closed."""
    shown = b""
    with contextlib.suppress(OSError):  # how Linux tells the end
        while chunk := os.read(leader, 100_000):
            shown += chunk
    os.close(leader)
    return shown.decode()


@pytest.mark.parametrize(("total", "unit"), [(3, "it"), (None, "it"), (3000, "B"), (None, "B")])
def test_a_terminal_gets_a_bar(monkeypatch, total, unit):
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        # The library writes to what standard error was when it was imported.
        monkeypatch.setattr(progressbar.streams, "original_stderr", terminal)
        with Progress(total, "label", unit=unit) as bar:
            bar.update(2)
            bar.update(3 if total != 3000 else 3500)
        with pytest.raises(RuntimeError), Progress(total, "broken", unit=unit) as bar:
            raise RuntimeError
    shown = read_all(leader)
    assert "label  3" in shown
    assert "/s" in shown
    assert "broken" in shown


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7 bytes"), (1500, "1.5 kB"), (862_182_613, "862.2 MB"), (13_510_573_713, "13.5 GB")],
)
def test_bytes_text(count, text):
    assert bytes_text(count) == text
