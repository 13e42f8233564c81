"""Progress of the preparation scripts: a bar on a terminal, a line every tenth elsewhere."""

import sys
import time

LINE_PAUSE = 2.0


class Progress:
    """Reports one piece of work on standard error.

        with Progress(len(jobs), "images") as bar:
            for done, job in enumerate(jobs, start=1):
                work(job)
                bar.update(done)

    Args:
        total: number of items or bytes in all, or None if that is not known.
        label: what is done.
        unit: "B" counts bytes, anything else items.
        start: what was done before, by an earlier run.
    """

    def __init__(self, total, label, unit="it", start=0):
        self.total, self.label, self.unit = total, label, unit
        self.done = start
        self._tenths = self._tenth_of(start)
        self._start, self._begin = start, time.monotonic()
        self._last_line = self._begin
        self._bar = self._text = None
        if sys.stderr.isatty():
            self._bar, self._text = _terminal_bar(total, label, start)

    def update(self, done):
        """Tells that `done` in all are ready."""
        self.done = done
        if self._bar is not None:
            self._text.update_mapping(text=f"{self._count()}  {self._rate()}")
            self._bar.update(done if self.total is None else min(done, self.total))
            return
        tenths, now = self._tenth_of(done), time.monotonic()
        if tenths > self._tenths and (now - self._last_line >= LINE_PAUSE or done == self.total):
            self._tenths, self._last_line = tenths, now
            print(f"{self.label}: {self._count()}", file=sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if self._bar is not None:
            if error is None:
                self._bar.update(self._bar.value, force=True)
            self._bar.finish(dirty=True)

    def _tenth_of(self, done):
        if self.total:
            return done * 10 // self.total
        return done // 100_000_000 if self.unit == "B" else 0

    def _count(self):
        if self.unit == "B":
            of = f" of {bytes_text(self.total)}" if self.total else ""
            return bytes_text(self.done) + of
        return f"{self.done:,} of {self.total:,}" if self.total else f"{self.done:,}"

    def _rate(self):
        seconds = time.monotonic() - self._begin
        rate = (self.done - self._start) / seconds if seconds > 0 else 0
        return f"{bytes_text(rate)}/s" if self.unit == "B" else f"{rate:,.1f} {self.unit}/s"


def bytes_text(count):
    """A number of bytes for people: "13.5 GB"."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.1f} {prefix}B"
    return f"{count:.0f} bytes"


def _terminal_bar(total, label, start):
    import progressbar

    text = progressbar.FormatCustomText("%(text)s", {"text": ""})
    widgets = [f"{label}  ", text]
    if total is None:
        total = progressbar.UnknownLength
    else:
        widgets += ["  ", progressbar.Bar(), "  ", progressbar.AdaptiveETA()]
    bar = progressbar.ProgressBar(
        max_value=total,
        initial_value=start,
        widgets=widgets,
        fd=sys.stderr,
        is_terminal=True,
        enable_colors=False,
    )
    return bar.start(), text
