"""A page of pictures to look through in a browser: an HTML file that needs no network.

A page contains its pictures (`embedded`), so that one file can be moved and sent, or links those
beside it (`picture_address`), of which a folder may hold thousands. Pictures are loaded when they
come into view, and a click enlarges them. A small script in the page filters them by words, by
groups such as the split, and by ranges of values such as the IoU; without JavaScript, the page
shows all of them. The file ends with the name of its command and its own checksum, by which the
command recognizes it as its own and unchanged.
"""

import base64
import hashlib
import html
import io
import json
import mmap
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from config.files import no_space_named
from utils.visualization.page_parts import SCRIPT, STYLE

INDEX = "index.html"
JPEG_QUALITY = 90
# The longer side of embedded pictures in pixels, and of those on pages of more than a few.
NARROWEST, WIDEST, WIDEST_OF_MANY = 480, 1280, 640
FEW = 300
HASHED_BYTES = 1 << 20  # At a time.
_AROUND_WORD = re.compile(r"^[\W_]+|[\W_]+$")


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
        groups: name of a filter → its choices that show this picture: {"Split": ("val",)}.
        values: name of a range → value: {"Box IoU": 0.5}.
    """

    picture: str
    size: tuple[int, int]
    expressions: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unknown_words: tuple[str, ...] = ()
    unread_words: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


def gallery(command: str, title: str, notes: Sequence[str], cards: Iterable[Card]) -> memoryview:
    """The content of the file of a page, which is written to an unnamed temporary file first.

    Cards are written one at a time, since a page may not fit in memory.

    Args:
        command: the command that writes the page, such as "predict.py".
        title: of the page.
        notes: paragraphs above the pictures.
        cards: the pictures, in their order.

    Returns:
        HTML in UTF-8. Texts may contain anything: they are shown as they are.

    Raises:
        NoSpaceError: the disk for temporary files is full.
    """
    digest, folder = hashlib.sha256(command.encode()), tempfile.gettempdir()
    # Outermost: closing the file writes once more.
    with no_space_named(Path(folder, INDEX)), tempfile.TemporaryFile(dir=folder) as file:
        for part in _parts(command, title, notes, cards):
            # Half of a surrogate pair, which JSON files may contain, is no text of UTF-8.
            encoded = part.encode("utf-8", "replace")
            digest.update(encoded)
            file.write(encoded)
        file.write(_seal(command, digest.hexdigest()))
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _parts(command: str, title: str, notes: Sequence[str], cards: Iterable[Card]) -> Iterator[str]:
    """Yields what is before the pictures, each of them, and what is behind them."""
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{script_hash}'"
    )
    paragraphs = "".join(f"<p>{_text(note)}</p>\n" for note in notes)
    yield f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{_text(command)}">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
{paragraphs}<form hidden>
<label>Whole words <input type="search" name="words" placeholder="red left"></label>
<button type="reset">Show all</button>
</form>
<p id="count" role="status"></p>
</header>
<main>
"""
    yield from map(_figure, cards)
    yield f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"


def is_gallery(path: str | os.PathLike, command: str) -> bool:
    """Whether a file is as `gallery` made it for a command: a regular file, no link, unchanged.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        return False
    digest, length = hashlib.sha256(command.encode()), len(_seal(command, "0" * 64))
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - length
        while left > 0 and (piece := file.read(min(left, HASHED_BYTES))):
            digest.update(piece)
            left -= len(piece)
        return file.read() == _seal(command, digest.hexdigest())


def words_of(expression: str) -> list[str]:
    """The words of an expression as pages find them: in lower case, without punctuation around."""
    return [_AROUND_WORD.sub("", part) or part for part in expression.lower().split()]


def picture_width(image: np.ndarray, n_pictures: int) -> int:
    """The longer side of a picture of (H, W, 3) pixels that is embedded in a page, in pixels.

    Args:
        image: the photograph: large ones stay sharp, and small ones are enlarged.
        n_pictures: number of pictures of the page.
    """
    widest = WIDEST if n_pictures <= FEW else WIDEST_OF_MANY
    return min(max(NARROWEST, *image.shape[:2]), widest)


def picture_address(name: str) -> str:
    """The address of a picture in the folder of the page, given by the name of its file."""
    # Without the dot, a name with a colon would be that of a protocol.
    return "./" + quote(name)


def embedded(picture: np.ndarray) -> str:
    """The address that contains a picture itself, as JPEG.

    Args:
        picture: (h, w, 3) uint8, RGB.
    """
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(picture)).decode()


def jpeg_bytes(picture: np.ndarray) -> bytes:
    """The content of a JPEG file of a picture, (h, w, 3) uint8, RGB."""
    stream = io.BytesIO()
    # Full resolution of colors, which expressions speak of.
    Image.fromarray(picture).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _seal(command: str, checksum: str) -> bytes:
    return f"<!-- {command} sha256: {checksum} -->\n".encode()


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _json(values: Mapping[str, object]) -> str:
    return _text(json.dumps(values, ensure_ascii=False, sort_keys=True))


def _figure(card: Card) -> str:
    words = _text("\n".join(f" {' '.join(words_of(text))} " for text in card.expressions))
    picture = ""
    if card.picture:
        width, height = card.size
        alternative = _text(", ".join((card.expressions[0], *card.notes[:1])))
        picture = (
            '<button type="button" class="picture" aria-expanded="false" title="enlarge">'
            f'<img src="{_text(card.picture)}" width="{width}" height="{height}" loading="lazy" '
            f'decoding="async" alt="{alternative}"></button>'
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
