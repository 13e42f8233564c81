"""Text in pictures: captions and titles, wrapped, truncated, and in a font that has the letters."""

import functools
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.visualization.palette import (
    FAINT_INK,
    INK,
    INNER_CASING,
    MARK,
    OUTER_CASING,
    PAPER,
    PREDICTED,
    TRUTH,
)

CAPTION_LINES, LONGEST_TEXT = 3, 2000
NOTHING_FOUND = "nothing found: "
# The entries of the legend.
PREDICTION, GROUND_TRUTH, UNKNOWN, UNREAD = "predicted", "truth", "unknown word", "not read"
SAMPLE_LENGTH = 2.2  # in sizes of the font
SOLID, DASHED = ((0, 1),), ((0, 0.36), (0.64, 1))

# Pillow's own font covers Latin letters. For others, these system fonts are tried in this order.
FALLBACK_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "msyh.ttc",
)


@dataclass(frozen=True)
class Caption:
    """What the strip below a picture says.

    Attributes:
        expression: the expression; wrapped, and truncated after `CAPTION_LINES` lines.
        figures: values by name; those that are None are omitted.
        prediction_shown, truth_shown: whether the legend includes prediction and ground truth.
        unknown_words: words of the expression to underline, and to explain in the legend.
        unread_words: the last words of the expression, to strike through and explain.
        nothing_found: whether to say that nothing was found.
    """

    expression: str
    figures: Mapping[str, float | None] = field(default_factory=dict)
    prediction_shown: bool = False
    truth_shown: bool = False
    unknown_words: tuple[str, ...] = ()
    unread_words: tuple[str, ...] = ()
    nothing_found: bool = False


def draw_caption(caption: Caption, width: int, size: int) -> np.ndarray:
    """Draws the strip below a picture: the expression, a legend of the lines, the figures.

    Args:
        caption: what it says.
        width: width of the strip in pixels.
        size: size of the picture in pixels, to which letters are proportional.

    Returns:
        (h, width, 3) uint8, RGB.
    """
    large, small = max(round(size / 25), 12), max(round(size / 34), 10)
    margin, row, step = max(size // 40, 4), round(1.4 * small), round(1.3 * large)
    text, marks = _marked_text(caption)
    font, small_font = _font(large, text), _font(small, "")
    lines = _wrap(text, font, width - 2 * margin, CAPTION_LINES)
    legend = _legend_rows(caption, small_font, width - 2 * margin)
    notes = "   ".join(f"{name} {v:.2f}" for name, v in caption.figures.items() if v is not None)
    legend_top = margin + step * len(lines) + small // 4
    height = legend_top + row * (len(legend) + (1 if notes else 0)) + margin
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    start = 0
    for number, line in enumerate(lines):
        place = (margin, margin + number * step)
        draw.text(place, line, font=font, fill=INK)
        _draw_marks(draw, place, line, [(a - start, b - start, kind) for a, b, kind in marks], font)
        start += len(line) + text[start + len(line) :].startswith(" ")
    y, dashed = legend_top + row / 2, caption.prediction_shown
    for entries in legend:
        x = float(margin)
        for name in entries:
            x = _draw_legend_entry(draw, (x, y), name, small_font, dashed)
        y += row
    draw.text((margin, y), notes, font=small_font, fill=FAINT_INK, anchor="lm")
    return np.asarray(strip)


def _marked_text(caption):
    """The expression with single spaces, and (start, end, name in the legend) of marked words."""
    words = caption.expression.split()
    n_read = len(words) - len(caption.unread_words)
    text, marks = NOTHING_FOUND if caption.nothing_found else "", []
    for number, word in enumerate(words):
        if len(text) > LONGEST_TEXT:  # Pictures show less, and measuring a text takes time.
            break
        start = len(text)
        text += word
        if number >= n_read:
            # The line goes on between words.
            marks.append((start - (number > n_read), len(text), UNREAD))
        elif word in caption.unknown_words:
            marks.append((start, len(text), UNKNOWN))
        text += " "
    return text[:LONGEST_TEXT].rstrip(), marks


def _draw_marks(draw, place, line, marks, font):
    """Underlines unknown words of a line, and strikes unread ones through."""
    x, y = place
    thickness = max(round(font.size / 12), 1)
    for start, end, kind in marks:
        start, end = max(start, 0), min(end, len(line))
        if start >= end:
            continue
        left, right = (x + font.getlength(line[:count]) for count in (start, end))
        if kind == UNREAD:
            middle = y + 0.68 * font.size
            draw.rectangle((left, middle, right, middle + thickness - 1), fill=MARK)
        else:
            _draw_dots(draw, (left, y + 1.12 * font.size), right - left, thickness)


def _draw_dots(draw, place, length, thickness):
    """Draws a dotted line of a mark."""
    x, y = place
    count = max(round(length / (4 * thickness)), 1)
    for left in np.linspace(x, x + length - 2 * thickness, count):
        draw.rectangle((left, y, left + 2 * thickness - 1, y + thickness - 1), fill=MARK)


def _legend_rows(caption, font, width):
    """The names of the legend's entries, in rows of at most `width` pixels."""
    n_read = len(caption.expression.split()) - len(caption.unread_words)
    read = caption.expression.split()[:n_read]
    shown = {
        PREDICTION: caption.prediction_shown,
        GROUND_TRUTH: caption.truth_shown,
        UNKNOWN: not set(read).isdisjoint(caption.unknown_words),
        UNREAD: bool(caption.unread_words),
    }
    rows: list[list[str]] = []
    used = 0.0
    for name in (name for name, is_shown in shown.items() if is_shown):
        needed = _entry_width(name, font)
        if not rows or used + needed - font.size > width:
            rows.append([])
            used = 0.0
        rows[-1].append(name)
        used += needed
    return rows


def _entry_width(name, font):
    return SAMPLE_LENGTH * font.size + font.size / 2 + font.getlength(name) + font.size


def _draw_legend_entry(draw, place, name, font, dashed):
    """Draws a sample of a line or mark and its name; returns the x coordinate of the next entry.

    The line of the truth is `dashed` beside a prediction.
    """
    x, y = place
    length, thickness = SAMPLE_LENGTH * font.size, max(font.size // 5, 2)
    if name == UNREAD:
        draw.rectangle((x, y - 1, x + length, y - 2 + max(thickness // 2, 1)), fill=MARK)
    elif name == UNKNOWN:
        _draw_dots(draw, (x, y), length, max(thickness // 2, 1))
    else:
        color = PREDICTED if name == PREDICTION else TRUTH
        dashes = DASHED if dashed and name == GROUND_TRUTH else SOLID
        casing = max(thickness // 3, 1)
        for grown, paint in ((2 * casing, OUTER_CASING), (casing, INNER_CASING), (0, color)):
            for start, end in dashes:
                left, right = x + start * length - grown, x + end * length + grown
                top = y - thickness / 2 - grown
                draw.rectangle((left, top, right, top + thickness + 2 * grown), fill=paint)
    draw.text((x + length + font.size / 2, y), name, font=font, fill=FAINT_INK, anchor="lm")
    return x + _entry_width(name, font)


def draw_title(title: str, width: int, margin: int, size: int) -> np.ndarray:
    """Draws a title of one line, truncated if it is too long.

    Args:
        title: the text.
        width, margin: width of the strip and of its margins, in pixels.
        size: size of the font in pixels.

    Returns:
        (h, width, 3) uint8, RGB.
    """
    font = _font(size, title)
    (line,) = _wrap(title, font, width - 2 * margin, 1)
    strip = Image.new("RGB", (width, round(1.3 * size) + 2 * margin), PAPER)
    ImageDraw.Draw(strip).text((margin, margin), line, font=font, fill=INK)
    return np.asarray(strip)


def _wrap(text, font, width, max_lines):
    """Breaks a text into at most `max_lines` lines of `width` pixels and truncates the rest."""
    lines: list[str] = []
    words = " ".join(text.split()).split(" ")
    while words and len(lines) < max_lines:
        line = words.pop(0)
        while words and font.getlength(f"{line} {words[0]}") <= width:
            line = f"{line} {words.pop(0)}"
        count = _count_fitting(line, font, width)
        if count < len(line):
            # Chinese and Japanese, for example, have no spaces to break at.
            words.insert(0, line[count:])
            line = line[:count]
        lines.append(line)
    if words:
        count = _count_fitting(lines[-1], font, width - font.getlength("…"))
        lines[-1] = lines[-1][:count].rstrip() + "…"
    return lines


def _count_fitting(line, font, width):
    """How many letters of a line fit into `width` pixels, at least one."""
    counts = range(1, len(line) + 1)
    return max(bisect_right(counts, width, key=lambda count: font.getlength(line[:count])), 1)


def _font(size, text):
    """Pillow's own font if it has all letters of `text`, otherwise the one that lacks fewest."""
    best = ImageFont.load_default(size)
    fewest = _count_missing(best, text)
    for name in FALLBACK_FONTS if fewest else ():
        font = _system_font(name, size)
        missing = _count_missing(font, text) if font is not None else fewest
        if missing < fewest:
            best, fewest = font, missing
    return best


@functools.cache
def _system_font(name, size):
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _count_missing(font, text):
    """How many letters of a text the font draws as its glyph for unknown characters."""
    unknown = bytes(font.getmask("\uffff"))
    return sum(
        bytes(font.getmask(letter)) == unknown for letter in set(text) if not letter.isspace()
    )
