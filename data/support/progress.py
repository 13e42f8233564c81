"""Progress of long work: a bar on a terminal, a line from time to time elsewhere.

    with Progress(len(batches), "epoch 3", unit="batches") as progress:
        for done, batch in enumerate(batches, start=1):
            progress.update(done, loss=train(batch))

Both show percentage, count, rate, remaining time and the given values. A narrow terminal omits the
bar, the count and then the last values. If the terminal or pipe is closed, the work continues
without output.
"""

import io
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any, TextIO

import progressbar
from progressbar.widgets import SamplesMixin

from config.command_line import ERASE_LINE

# Off a terminal: one line per tenth of the work, but at least 2 s and at most 5 min apart.
LINES, SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 10, 2.0, 300.0
SHORTEST_BAR, GAP = 8, "  "


class Progress:
    """Reports the progress of one piece of work.

    Args:
        total: number of items, or None if it is unknown.
        label: what is being done, such as "epoch 3".
        unit: what the items are, such as "images"; "B" shows them in KiB, MiB or GiB.
        start: number of items that an earlier run completed; the rate does not count them.
        stream: where to write; standard error by default.
        shown: whether anything is written at all.
        lasting: whether a terminal keeps the bar of complete work, with elapsed time and mean rate.
            Otherwise it is erased, and a terminal shows one bar however often work begins. Lines
            are kept in any case.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        unit: str = "it",
        start: int = 0,
        stream: TextIO | None = None,
        shown: bool = True,
        lasting: bool = True,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        if not shown or stream is None or stream.closed:  # As in a process without a console.
            stream = io.StringIO()
        self.total, self.stream = total, stream
        self._on_terminal = self.stream.isatty()
        self._erased = self._on_terminal and not lasting
        self._bar = progressbar.ProgressBar(
            min_value=start if total is None else min(start, total),
            max_value=progressbar.UnknownLength if total is None else total,
            widgets=_widgets(total, label, unit, start, self.stream),
            variables={"values": {}},
            fd=io.StringIO(),  # Takes what start() draws: work that ends at once writes one line.
            is_terminal=self._on_terminal,
            line_breaks=not self._on_terminal,
            enable_colors=False,
            # The bar is redrawn when it would grow by one of as many characters.
            term_width=None if self._on_terminal else LINES,
        ).start()
        self._bar.fd, self._bar.min_value = self.stream, 0  # The percentage counts all items.
        if self._on_terminal:
            self._draw(force=True)
        else:
            self._bar.min_poll_interval = LONGEST_PAUSE_S if total is None else SHORTEST_PAUSE_S
            self._bar.poll_interval = LONGEST_PAUSE_S

    def update(self, done: int, **values: Any) -> None:
        """Reports that `done` items are complete, and values to show from now on.

        Fractions are shown with four significant digits. The values of the last report come first.
        """
        self._set_values(values)
        self._bar.value = done if self.total is None else min(done, self.total)
        if self._on_terminal or done != self.total:  # finish() writes the last line.
            self._draw()

    def log(self, text: str, file: TextIO | None = None) -> None:
        """Prints a text, to standard output by default, and redraws the bar below it."""
        with suppress(OSError):
            if self._on_terminal:
                print(ERASE_LINE, end="", file=self.stream, flush=True)
            print(text, file=file, flush=True)
        if self._on_terminal:
            self._draw(force=True)

    def finish(self, **values: Any) -> None:
        """Ends the report with the elapsed time and the mean rate, or erases the bar."""
        if self._bar.finished():
            return
        if self._erased:
            self._bar.fd = io.StringIO()  # Takes the line break that would keep the bar.
            self.abandon()
            with suppress(OSError):
                print(ERASE_LINE, end="", file=self.stream, flush=True)
        else:
            self._set_values(values)
            self._bar.end_time = datetime.now()
            self._draw(force=True)
            self.abandon()

    def abandon(self) -> None:
        """Ends the report of work that stopped early; what was shown last remains."""
        with suppress(OSError):
            self._bar.finish(dirty=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self.finish() if error is None else self.abandon()

    def _draw(self, force: bool = False) -> None:
        with suppress(OSError):
            self._bar.update(force=force)

    def _set_values(self, values: dict[str, Any]) -> None:
        shown = {
            name: value if isinstance(value, str | int | None) else f"{float(value):.4g}"
            for name, value in values.items()
        }
        self._bar.variables["values"] = shown | self._bar.variables["values"] | shown


class _Rate(progressbar.AdaptiveTransferSpeed):
    """The recent rate, and the mean rate once the work is complete."""

    def __init__(self, start, **options):
        super().__init__(**options)
        self.start = start

    def __call__(self, bar, data, value=None, total_seconds_elapsed=None):
        elapsed, value = SamplesMixin.__call__(self, bar, data, delta=True)
        if bar.end_time or value is None:
            elapsed, value = None, data["value"] - self.start
        return progressbar.FileTransferSpeed.__call__(self, bar, data, value, elapsed)


class _Line(progressbar.widgets.AutoWidthWidgetBase):
    """The whole line, without what does not fit: the bar first, then the count and later values.

    Args:
        label: the first words.
        percentage, bar, count, rate, eta: widgets; the first two are None if there is no total.
        fits_anywhere: whether lines may be of any length, as in a file.
    """

    def __init__(self, label, percentage, bar, count, rate, eta, fits_anywhere):
        super().__init__()
        self.label, self.percentage, self.bar = label, percentage, bar
        self.count, self.rate, self.eta, self.fits_anywhere = count, rate, eta, fits_anywhere

    def __call__(self, progress, data, width=0):
        percentage = [self.percentage(progress, data)] if self.percentage else []
        start = GAP.join([self.label, *percentage])
        count = GAP + "/".join(part(progress, data) for part in self.count)
        end = GAP + self.rate(progress, data) + self.eta(progress, data)
        pairs = [f"{name}={value}" for name, value in data["variables"]["values"].items()]
        texts = [GAP + ", ".join(pairs[:n]) if n else "" for n in range(len(pairs), -1, -1)]
        if self.fits_anywhere:
            return start + count + end + texts[0]
        for middle, rest in [(count, texts[0]), *(("", text) for text in texts)]:
            left = width - len(start + middle + end + rest)
            if left >= 0:
                break
        bar = ""
        if self.bar and left >= SHORTEST_BAR:
            bar = GAP + self.bar(progress, data, left - len(GAP))
        return start + bar + middle + end + rest


def _widgets(total, label, unit, start, stream):
    form, prefixes = "{scaled:,.0f}", [""]
    if unit == "B":
        form, prefixes = "{scaled:.1f} {prefix}{unit}", ["", "Ki", "Mi", "Gi", "Ti"]
    done, everything = (
        progressbar.DataSize(name, form, new_style=True, prefixes=prefixes)
        for name in ("value", "max_value")
    )
    percentage = bar = None
    counts = [done]
    if total is not None:
        marker, fill = "█░" if "utf" in (stream.encoding or "").lower() else "#."
        # Not Percentage, whose colors count as characters of the line.
        percentage = progressbar.FormatLabel("%(percentage)3d%%")
        bar = progressbar.Bar(marker, "", "", fill)
        counts = [done, everything]
    samples = 30 if stream.isatty() else 2  # A line shows the rate since the previous line.
    rate = _Rate(start, unit=unit, prefixes=prefixes, samples=samples)
    blank = dict.fromkeys(("format_not_started", "format_zero", "format_na"), " ")
    time = {"format": "  %(eta)s left", "format_finished": "  in %(elapsed)s", **blank}
    eta = progressbar.AdaptiveETA(samples=samples, **time)
    return [_Line(label, percentage, bar, counts, rate, eta, not stream.isatty())]
