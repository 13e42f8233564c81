"""Text in pictures: captions and titles, wrapped, truncated, and in a font that has the letters."""

import functools
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.visualization.palette import FAINT_INK, INK, PAPER, PREDICTED, TRUTH

CAPTION_LINES = 3
SOLID, DASHED = ((0, 1),), ((0, 0.26), (0.37, 0.63), (0.74, 1))

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


def draw_caption(
    expression: str,
    figures: Mapping[str, float | None],
    prediction_shown: bool,
    truth_shown: bool,
    width: int,
) -> np.ndarray:
    """Draws the strip below a picture: the expression, a legend of the colors, the figures.

    Args:
        expression: the expression; wrapped, and truncated after `CAPTION_LINES` lines.
        figures: values by name; those that are None are omitted.
        prediction_shown, truth_shown: whether the legend includes prediction and ground truth.
        width: width of the strip in pixels.

    Returns:
        (h, width, 3) uint8, RGB.
    """
    large, small = max(round(width / 25), 12), max(round(width / 34), 10)
    margin, row = max(width // 40, 4), round(1.4 * small)
    font, small_font = _font(large, expression), _font(small, "")
    lines = _wrap(expression, font, width - 2 * margin, CAPTION_LINES)
    notes = "   ".join(f"{name} {v:.2f}" for name, v in figures.items() if v is not None)
    step = round(1.3 * large)
    legend_top = margin + step * len(lines) + small // 4
    legend_rows = 1 if prediction_shown or truth_shown else 0
    height = legend_top + row * (legend_rows + (1 if notes else 0)) + margin
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    for number, text in enumerate(lines):
        draw.text((margin, margin + number * step), text, font=font, fill=INK)
    x, y = margin, legend_top + row / 2
    if prediction_shown:
        x = _legend_entry(draw, (x, y), "predicted", PREDICTED, SOLID, small_font)
    if truth_shown:
        _legend_entry(draw, (x, y), "truth", TRUTH, DASHED, small_font)
    draw.text((margin, y + row * legend_rows), notes, font=small_font, fill=FAINT_INK, anchor="lm")
    return np.asarray(strip)


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


def _legend_entry(draw, position, name, color, dashes, font):
    """Draws a sample of a line and its name; returns the x coordinate of the next entry."""
    x, y = position
    length, thickness = 1.8 * font.size, max(font.size // 4, 2)
    for start, end in dashes:
        corners = (x + start * length, y - thickness / 2, x + end * length, y + thickness / 2)
        draw.rectangle(corners, fill=color)
    x += length + font.size / 2
    draw.text((x, y), name, font=font, fill=FAINT_INK, anchor="lm")
    return x + font.getlength(name) + font.size


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
