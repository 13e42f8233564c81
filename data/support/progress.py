"""Progress of long work: a bar on a terminal, plain lines everywhere else.

    with Progress(len(batches), "epoch 3", unit="img") as bar:
        for done, batch in enumerate(batches, start=1):
            bar.update(done, loss=train(batch))

Both forms tell how far the work is, how fast it goes, the time that remains and any values given.
"""

import collections
import sys
import time

LINE_SHARE = 0.1
LINE_SECONDS = 300.0
LINE_PAUSE = 2.0
RATE_SAMPLES = 30
ERASE_LINE = "\r\x1b[K"


class Progress:
    """Reports the progress of one piece of work.

    On a terminal a bar is redrawn in place. Elsewhere a line is written each tenth of the work,
    but every five minutes at least and every two seconds at most.

    Args:
        total: number of items in all, or None if that is not known.
        label: what is done, such as "epoch 3".
        unit: what the rate counts, such as "img"; "B" is shown as kB, MB, GB.
        start: number of items that an earlier run did; they do not count for the rate.
        stream: where to write, standard error by default.
        clock: function that gives seconds, for tests.
    """

    def __init__(self, total, label, unit="it", start=0, stream=None, clock=time.monotonic):
        self.total = total
        self.label = label
        self.unit = unit
        self.stream = sys.stderr if stream is None else stream
        self.done = self._done_before = start
        self.values = {}
        self._clock = clock
        self._began = self._last_line = clock()
        self._samples = collections.deque([(self._began, start)], maxlen=RATE_SAMPLES)
        self._tenths = self._tenths_done()
        self._closed = False
        self._bar = self._text = None
        if self.stream.isatty():
            self._bar, self._text = _terminal_bar(label, total, start, self.stream)

    def update(self, done, **values):
        """Tells that `done` items in all are ready, and values to show from now on.

        Numbers are shown with four significant digits, other values as they are.
        """
        self.done = done
        self.values.update(values)
        now = self._clock()
        if now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, done))
        if self._bar is not None:
            self._text.update_mapping(text=_join(self._count(), self._status(now)))
            self._bar.update(done if self.total is None else min(done, self.total))
        elif self._line_is_due(now):
            self._last_line = now
            self._write_line(self._status(now))

    def say(self, text, file=None):
        """Prints a text, to standard output by default; a bar gives way and stands below it."""
        if self._bar is not None:
            self.stream.write(ERASE_LINE)
            self.stream.flush()
        print(text, file=file, flush=True)
        if self._bar is not None:
            self._bar.update(self._bar.value, force=True)

    def finish(self, **values):
        """Ends the report with the total time and the mean rate."""
        if self._closed:
            return
        self._closed = True
        self.values.update(values)
        elapsed = self._clock() - self._began
        rate = _rate_text((self.done - self._done_before) / elapsed, self.unit) if elapsed else ""
        status = _join(f"in {_time_text(elapsed)}", rate, self._values_text())
        if self._bar is None:
            self._write_line(status)
        else:
            self._text.update_mapping(text=_join(self._count(), status))
            self._bar.update(self.done if self.total is None else self.total, force=True)
            self._bar.finish()

    def abandon(self):
        """Ends the report of work that was broken off, and leaves what it showed last."""
        if not self._closed:
            self._closed = True
            if self._bar is not None:
                self._bar.finish(dirty=True)

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error is None:
            self.finish()
        else:
            self.abandon()

    def _line_is_due(self, now):
        waited = now - self._last_line
        tenths = self._tenths_done()
        due = waited >= LINE_SECONDS or (tenths > self._tenths and waited >= LINE_PAUSE)
        if due:
            self._tenths = tenths
        return due and self.done != self.total

    def _tenths_done(self):
        return int(self.done / (LINE_SHARE * self.total)) if self.total else 0

    def _write_line(self, status):
        share = ""
        if self.total is not None:
            share = f"{100 * self.done / self.total if self.total else 100:3.0f} %"
        print(_join(self.label, share, self._count(), status), file=self.stream, flush=True)

    def _count(self):
        done = _count_text(self.done, self.unit)
        return done if self.total is None else f"{done}/{_count_text(self.total, self.unit)}"

    def _status(self, now):
        """Rate, remaining time and values. The rate is that of the last half minute or so."""
        before, done_before = self._samples[0]
        elapsed, ready = now - before, self.done - done_before
        if elapsed <= 0 or ready <= 0:
            return self._values_text()
        rate, left = ready / elapsed, ""
        if self.total is not None and self.done < self.total:
            left = f"{_time_text((self.total - self.done) / rate)} left"
        return _join(_rate_text(rate, self.unit), left, self._values_text())

    def _values_text(self):
        return "  ".join(f"{name} {_value_text(value)}" for name, value in self.values.items())


def bytes_text(count):
    """A number of bytes for people: "13.5 GB"."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.1f} {prefix}B"
    return f"{count:.0f} bytes"


def _terminal_bar(label, total, start, stream):
    import progressbar

    text = progressbar.FormatCustomText("%(text)s", {"text": ""})
    if total is None:
        widgets = [f"{label} ", progressbar.AnimatedMarker(), " ", text]
        total = progressbar.UnknownLength
    else:
        blocks = "utf" in (getattr(stream, "encoding", None) or "").lower()
        marker, fill = ("█", "░") if blocks else ("#", ".")
        bar = progressbar.Bar(marker=marker, fill=fill, left="", right="")
        widgets = [f"{label} ", progressbar.Percentage(), " ", bar, " ", text]
    bar = progressbar.ProgressBar(
        max_value=total,
        initial_value=start,
        widgets=widgets,
        fd=stream,
        is_terminal=True,
        enable_colors=False,
    )
    return bar.start(), text


def _join(*parts):
    return "  ".join(part for part in parts if part)


def _value_text(value):
    if isinstance(value, str | int):
        return str(value)
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)


def _count_text(count, unit):
    return bytes_text(count) if unit == "B" else f"{count:,}"


def _rate_text(rate, unit):
    if unit == "B":
        return f"{bytes_text(rate)}/s"
    if rate < 0.5:
        return f"{1 / rate:.1f} s/{unit}" if rate else ""
    return f"{rate:,.{1 if rate < 99.95 else 0}f} {unit}/s"


def _time_text(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
