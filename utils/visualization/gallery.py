"""A page of pictures to look through in a browser: one HTML file without external resources.

Pictures are loaded when they come into view. A small script in the page filters them by words, by
groups such as the split, and by ranges of values such as the IoU; without JavaScript, the page
shows all of them. The file ends with its own checksum, by which it is recognized as unchanged.
"""

import base64
import hashlib
import html
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from utils.visualization.page_parts import SCRIPT, STYLE

INDEX = "index.html"
SEAL = "<!-- sha256: "
SEAL_END = " -->\n"
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Card:
    """A picture and what the page says about it.

    Attributes:
        picture: address of the picture, see `picture_address` and `embedded`; "" if there is none.
        size: width and height of the picture in pixels.
        expressions: the expressions.
        notes: lines below the expressions.
        unknown_words, unread_words: words of the expressions to mark, and the last words of the
            only expression, see `utils.visualization.typesetting.Caption`.
        groups: name of a filter → what it shows this picture for: {"Split": "val"}.
        values: name of a range → value: {"Box IoU": 0.5}.
    """

    picture: str
    size: tuple[int, int]
    expressions: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unknown_words: tuple[str, ...] = ()
    unread_words: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


def gallery(title: str, notes: Sequence[str], cards: Sequence[Card]) -> bytes:
    """The content of the file of a page.

    Args:
        title: of the page.
        notes: paragraphs above the pictures.
        cards: the pictures, in their order.

    Returns:
        HTML in UTF-8. Texts may contain anything: they are shown as they are.
    """
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{script_hash}'"
    )
    paragraphs = "".join(f"<p>{_text(note)}</p>\n" for note in notes)
    pictures = "".join(map(_figure, cards))
    content = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
{paragraphs}<form hidden>
{_controls(cards)}</form>
<p id="count" role="status">{len(cards):,} {"picture" if len(cards) == 1 else "pictures"}</p>
</header>
<main>
{pictures}</main>
<script>{SCRIPT}</script>
</body>
</html>
"""
    # Half of a surrogate pair, which JSON files may contain, is no text that UTF-8 can encode.
    encoded = content.encode("utf-8", "replace")
    return encoded + _seal(encoded)


def is_gallery(path: str | os.PathLike) -> bool:
    """Whether a file is as `gallery` made it: a regular file, no link, and not changed since.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        return False
    content = path.read_bytes()
    length = len(_seal(b""))
    return len(content) > length and content[-length:] == _seal(content[:-length])


def picture_address(name: str) -> str:
    """The address of a picture in the folder of the page, given by the name of its file."""
    # Without the dot, a name with a colon would be that of a protocol.
    return "./" + quote(name)


def embedded(picture: np.ndarray) -> str:
    """The address that contains a picture itself, as JPEG.

    Args:
        picture: (h, w, 3) uint8, RGB.
    """
    stream = io.BytesIO()
    # Full resolution of colors, which expressions speak of.
    Image.fromarray(picture).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _seal(content: bytes) -> bytes:
    return f"{SEAL}{hashlib.sha256(content).hexdigest()}{SEAL_END}".encode()


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _json(values: Mapping[str, object]) -> str:
    return _text(json.dumps(values, ensure_ascii=False, sort_keys=True))


def _controls(cards: Sequence[Card]) -> str:
    """The filters that have something to choose from."""
    parts = ['<label>Words <input type="search" name="words" placeholder="red left"></label>\n']
    for name in _names(card.groups for card in cards):
        choices = list(dict.fromkeys(c.groups[name] for c in cards if name in c.groups))
        if len(choices) > 1:
            options = "".join(f'<option value="{_text(c)}">{_text(c)}</option>' for c in choices)
            parts.append(
                f'<label>{_text(name)} <select data-group="{_text(name)}">'
                f'<option value="">all</option>{options}</select></label>\n'
            )
    for name in _names(card.values for card in cards):
        label = _text(name)
        bounds = "".join(
            f'<input type="number" min="0" max="1" step="0.05" value="{value}" '
            f'data-value="{label}" data-bound="{bound}" aria-label="{label}: {bound}">'
            for bound, value in (("least", 0), ("most", 1))
        )
        parts.append(f"<fieldset><legend>{label}</legend>{bounds}</fieldset>\n")
    parts.append('<button type="reset">Show all</button>\n')
    return "".join(parts)


def _names(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _figure(card: Card) -> str:
    words = _text(" ".join(card.expressions).lower())
    picture = ""
    if card.picture:
        width, height = card.size
        alternative = _text(", ".join((card.expressions[0], *card.notes[:1])))
        picture = (
            f'<img src="{_text(card.picture)}" width="{width}" height="{height}" loading="lazy" '
            f'decoding="async" alt="{alternative}">'
        )
    expressions = "".join(f"<li>{_marked(text, card)}</li>" for text in card.expressions)
    values = [f"{name} {value:.2f}" for name, value in card.values.items()]
    lines = [*card.notes, *([" · ".join(values)] if values else [])]
    notes = "".join(f"<p>{_text(line)}</p>" for line in lines)
    return (
        f'<figure data-words="{words}" data-groups="{_json(card.groups)}" '
        f'data-values="{_json(card.values)}">{picture}<figcaption><ul>{expressions}</ul>{notes}'
        "</figcaption></figure>\n"
    )


def _marked(expression: str, card: Card) -> str:
    """An expression in HTML, with the words that the network does not see marked."""
    words = expression.split()
    n_read = len(words) - len(card.unread_words)
    parts = []
    for number, word in enumerate(words):
        if number >= n_read:
            parts.append(f'<s title="not read">{_text(word)}</s>')
        elif word in card.unknown_words:
            parts.append(f'<u title="unknown word">{_text(word)}</u>')
        else:
            parts.append(_text(word))
    return " ".join(parts)
