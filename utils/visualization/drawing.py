"""Pictures of predictions: boxes and masks over the photograph, the words below.

What the network says is orange and solid, the truth is blue and dashed; both come from the
palette of Okabe and Ito, which people with colour-blindness tell apart, and the style of the line
says it once more. Every line has a dark edge, so that it is seen on bright and dark ground.
"""

import functools

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PREDICTED = (230, 159, 0)
TRUTH = (86, 180, 233)
EDGE = (20, 20, 24)
PAPER = (255, 255, 255)
BACKDROP = (238, 239, 241)
INK = (28, 30, 34)
FAINT_INK = (104, 108, 116)
MASK_OPACITY = 0.35
EDGE_OPACITY = 0.55
CAPTION_LINES = 3
DASH_PERIOD = 2.2
SUBPIXEL_BITS = 4

# Pillow's own font covers English alone. These are looked for, in this order, for other letters.
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


def draw_prediction(
    image,
    expression,
    pred_box_xyxy_px,
    pred_mask,
    true_box=None,
    true_mask=None,
    score=None,
    det_iou=None,
    seg_iou=None,
    width=480,
):
    """One picture of what the network found, with a caption.

    The photograph is scaled to fit a square of `width` pixels, small ones are enlarged.

    Args:
        image: uint8 (H, W, 3), RGB.
        expression: the words, in any script; long ones are wrapped, then cut.
        pred_box_xyxy_px: (4,) in pixels of `image`, or None.
        pred_mask: bool or 0/1 (H, W), or None.
        true_box, true_mask: the truth in the same form, if known.
        score: confidence of the box in 0..1, if it is to be shown.
        det_iou, seg_iou: overlaps of box and mask with the truth, if they are to be shown.
        width: of the picture in pixels.

    Returns:
        uint8 (h, width, 3), RGB.

    Raises:
        ValueError: the image is not uint8 RGB, or a mask is not of its size.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    scale = width / max(image.shape[:2])
    canvas = _resize(image, scale, width)
    line = max(width / 200, 2.0)
    if pred_mask is not None:
        outline = _scaled_mask(pred_mask, image, canvas.shape)
        canvas = _tint(canvas, outline, PREDICTED)
        _draw_paths(canvas, _contours(outline), PREDICTED, 0.8 * line)
    if pred_box_xyxy_px is not None:
        _draw_paths(canvas, [_corners(pred_box_xyxy_px, scale, canvas)], PREDICTED, line)
    # The truth comes last: between its dashes the prediction shows even where both coincide.
    if true_mask is not None:
        outline = _scaled_mask(true_mask, image, canvas.shape)
        _draw_paths(canvas, _contours(outline), TRUTH, 0.8 * line, dash=3.5 * line)
    if true_box is not None:
        _draw_paths(canvas, [_corners(true_box, scale, canvas)], TRUTH, line, dash=5 * line)
    truth_shown = true_box is not None or true_mask is not None
    notes = _notes(score, det_iou, seg_iou)
    caption = _caption(expression, notes, truth_shown, width)
    return np.concatenate([_centred(canvas, width), caption])


def contact_sheet(panels, columns, title=None):
    """Panels side by side, row by row.

    Args:
        panels: list of uint8 (h, w, 3), as `draw_prediction` gives them; sizes may differ.
        columns: panels in a row.
        title: words above them.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: there are no panels, or columns is not positive.
    """
    if not panels or columns < 1:
        raise ValueError(f"a sheet needs panels and columns, got {len(panels)} and {columns}")
    columns = min(columns, len(panels))
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    width = max(panel.shape[1] for panel in panels)
    gap = max(width // 30, 4)
    heights = [max(panel.shape[0] for panel in row) for row in rows]
    total_width = columns * (width + gap) + gap
    head = _title(title, total_width, gap, width) if title else _strip(gap, total_width)
    sheet = _strip(sum(heights) + gap * len(rows), total_width)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left = gap + column * (width + gap)
            sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        top += height + gap
    return np.concatenate([head, sheet])


def _resize(image, scale, width):
    height, wide = (max(round(side * scale), 1) for side in image.shape[:2])
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return cv2.resize(image, (min(wide, width), min(height, width)), interpolation=method)


def _scaled_mask(mask, image, shape):
    """A mask at the size of the picture, its outline smooth; bool."""
    mask = np.asarray(mask)
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask of shape {mask.shape} for an image of shape {image.shape}")
    soft = cv2.resize((mask > 0).astype(np.float32), shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if shape[0] > mask.shape[0]:
        # Enlarged pixels would show as a staircase.
        soft = cv2.GaussianBlur(soft, (0, 0), 0.5 * shape[0] / mask.shape[0])
    return soft >= 0.5


def _tint(canvas, mask, colour):
    tinted = canvas.astype(np.float32)
    tinted[mask] += MASK_OPACITY * (np.float32(colour) - tinted[mask])
    return np.rint(tinted).astype(np.uint8)


def _contours(mask):
    """Outlines of a mask, holes too: list of float (n, 2) x, y, closed."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [_closed(points[:, 0, :].astype(np.float64)) for points in found]


def _corners(box_xyxy_px, scale, canvas):
    """A box as a closed path on the picture; sides outside are moved to its border."""
    x1, y1, x2, y2 = np.asarray(box_xyxy_px, np.float64) * scale
    height, width = canvas.shape[:2]
    x1, x2 = np.clip([x1, x2], 1, width - 2)
    y1, y2 = np.clip([y1, y2], 1, height - 2)
    return _closed(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]))


def _closed(points):
    return np.concatenate([points, points[:1]])


def _draw_paths(canvas, paths, colour, thickness, dash=None):
    """Draws closed paths with a dark edge, dashed if `dash` gives the length of a dash."""
    pieces = paths if dash is None else [piece for path in paths for piece in _dashes(path, dash)]
    fixed = [np.rint(piece * 2**SUBPIXEL_BITS).astype(np.int32) for piece in pieces]
    inner = max(round(thickness), 1)
    for width, paint, opacity in ((inner + 2, EDGE, EDGE_OPACITY), (inner, colour, 1.0)):
        cover = np.zeros(canvas.shape[:2], np.uint8)
        cv2.polylines(cover, fixed, False, 255, width, cv2.LINE_AA, SUBPIXEL_BITS)
        touched = cover > 0
        share = opacity / 255 * cover[touched][:, None].astype(np.float32)
        canvas[touched] = np.rint(canvas[touched] * (1 - share) + share * np.float32(paint))


def _dashes(path, dash):
    """Cuts a path into dashes, wide apart: their round ends fill part of the gaps."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    length = along[-1]
    if length <= 0:
        return []
    count = max(round(length / (DASH_PERIOD * dash)), 1)
    period = length / count
    pieces = []
    for start in np.arange(count) * period:
        end = start + period / DASH_PERIOD
        inside = along[(along > start) & (along < end)]
        places = np.concatenate([[start], inside, [end]])
        pieces.append(np.stack([np.interp(places, along, path[:, k]) for k in (0, 1)], axis=1))
    return pieces


def _centred(canvas, width):
    """The picture in a strip of full width."""
    left = (width - canvas.shape[1]) // 2
    strip = np.empty((canvas.shape[0], width, 3), np.uint8)
    strip[:] = BACKDROP
    strip[:, left : left + canvas.shape[1]] = canvas
    return strip


def _notes(score, det_iou, seg_iou):
    named = (("score", score), ("box IoU", det_iou), ("mask IoU", seg_iou))
    return "   ".join(f"{name} {value:.2f}" for name, value in named if value is not None)


def _caption(expression, notes, truth_shown, width):
    """The strip below a picture: the words, what the colours mean, the figures."""
    large, small = max(round(width / 25), 12), max(round(width / 34), 10)
    margin, row = max(width // 40, 4), round(1.4 * small)
    font, small_font = _font(large, expression), _font(small, "")
    lines = _wrap(expression, font, width - 2 * margin, CAPTION_LINES)
    step = round(1.3 * large)
    keys_top = margin + step * len(lines) + small // 4
    height = keys_top + row * (2 if notes else 1) + margin
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    for number, text in enumerate(lines):
        draw.text((margin, margin + number * step), text, font=font, fill=INK)
    x, y = margin, keys_top + row / 2
    x = _key(draw, (x, y), "predicted", PREDICTED, [(0, 1)], small_font)
    if truth_shown:
        _key(draw, (x, y), "truth", TRUTH, [(0, 0.26), (0.37, 0.63), (0.74, 1)], small_font)
    draw.text((margin, y + row), notes, font=small_font, fill=FAINT_INK, anchor="lm")
    return np.asarray(strip)


def _key(draw, place, name, colour, dashes, font):
    """Draws a sample of a line and its name; returns where the next one starts."""
    x, y = place
    length, thick = 1.8 * font.size, max(font.size // 4, 2)
    for start, end in dashes:
        corners = (x + start * length, y - thick / 2, x + end * length, y + thick / 2)
        draw.rectangle(corners, fill=colour)
    x += length + font.size / 2
    draw.text((x, y), name, font=font, fill=FAINT_INK, anchor="lm")
    return x + font.getlength(name) + font.size


def _title(title, width, gap, panel_width):
    size = max(round(panel_width / 18), 14)
    font = _font(size, title)
    (line,) = _wrap(title, font, width - 2 * gap, 1)
    strip = Image.new("RGB", (width, round(1.3 * size) + 2 * gap), PAPER)
    ImageDraw.Draw(strip).text((gap, gap), line, font=font, fill=INK)
    return np.asarray(strip)


def _strip(height, width):
    return np.full((height, width, 3), PAPER, np.uint8)


def _wrap(text, font, width, most):
    """Breaks a text into at most `most` lines of `width` pixels; cuts what is longer."""
    lines, words = [], " ".join(text.split()).split(" ")
    while words and len(lines) < most:
        line = words.pop(0)
        while words and font.getlength(f"{line} {words[0]}") <= width:
            line = f"{line} {words.pop(0)}"
        fits = _longest_part(line, font, width)
        if fits < len(line):
            # Chinese and the like have no blanks to break at.
            words.insert(0, line[fits:])
            line = line[:fits]
        lines.append(line)
    if words:
        last = lines[-1]
        while last and font.getlength(last + "…") > width:
            last = last[:-1]
        lines[-1] = last.rstrip() + "…"
    return lines


def _longest_part(line, font, width):
    """Characters of a line that fit, at least one."""
    if font.getlength(line) <= width:
        return len(line)
    count = 1
    while font.getlength(line[: count + 1]) <= width:
        count += 1
    return count


def _font(size, text):
    """The font that has the most letters of `text`, Pillow's own if it has all."""
    own = ImageFont.load_default(size)
    lacking = _lacking(own, text)
    if not lacking:
        return own
    best, fewest = own, lacking
    for name in FALLBACK_FONTS:
        other = _system_font(name, size)
        lacking = _lacking(other, text) if other is not None else fewest
        if lacking < fewest:
            best, fewest = other, lacking
    return best


@functools.cache
def _system_font(name, size):
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _lacking(font, text):
    """Letters of a text that a font shows as its sign for unknown ones."""
    unknown = bytes(font.getmask("\uffff"))
    return sum(
        bytes(font.getmask(letter)) == unknown for letter in set(text) if not letter.isspace()
    )
