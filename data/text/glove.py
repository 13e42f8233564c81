"""GloVe text files, plain, gzipped or in a zip archive: one word and its vector per line."""

import codecs
import contextlib
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from config.errors import MAX_SHOWN, UserError, shown

GUIDE = "see data/README.md, section 'Word vectors', for how to download one"
# Longer lines are no words with vectors; a line is read into memory as a whole.
MAX_LINE_BYTES = 1 << 20
_LARGEST = np.finfo(np.float32).max
# Reading a member of any other method expands a whole chunk of it in memory at once.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What reading a damaged archive raises. RuntimeError: it is encrypted or compressed by an unknown
# method; UnicodeDecodeError: a file name is damaged; OSError: from gzip.
_DAMAGE = (
    EOFError,
    OSError,
    RuntimeError,
    UnicodeDecodeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_glove(path: Path, wanted: set[str], embed_dim: int) -> dict[str, np.ndarray]:
    """Reads the vectors of the wanted words.

    Args:
        path: a GloVe text file, see `data.text.sources`.
        wanted: words as they are written in the file.
        embed_dim: dimension that the vectors must have.

    Returns:
        Word → float32 (embed_dim,) for the words that the file contains. If a word occurs twice,
        its first vector is returned.

    Raises:
        UserError: see `glove_entries`; or the vector of a wanted word is not numeric.
    """
    wanted_bytes = {word.encode(): word for word in wanted}
    vectors: dict[str, np.ndarray] = {}
    for (name, number), entry, text, _ in glove_entries(path, embed_dim):
        word = wanted_bytes.get(entry)
        if word is not None and word not in vectors:
            vectors[word] = parse_vector(f"{name}:{number}", text)
    return vectors


def glove_entries(
    path: Path, embed_dim: int
) -> Iterator[tuple[tuple[str, int], bytes, bytes, int]]:
    """Iterates over all entries of a GloVe text file, in bounded memory.

    Yields:
        ((file name, line number) for messages, word, vector as text, byte offset of the word).

    Raises:
        UserError: the file is damaged, truncated or empty, a line has more than `MAX_LINE_BYTES`,
            or the vectors have another dimension.
    """
    number = offset = n_entries = 0
    n_announced: int | None = None
    try:
        with _open_text(path, embed_dim) as (name, lines):
            for line in iter(lambda: lines.readline(MAX_LINE_BYTES + 1), b""):
                number += 1
                start, offset = offset, offset + len(line)
                if len(line) > MAX_LINE_BYTES:
                    raise UserError(
                        f"{name}:{number}: the line has more than {MAX_LINE_BYTES:,} bytes; is "
                        "this a GloVe text file?"
                    )
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    start, line = len(codecs.BOM_UTF8), line[len(codecs.BOM_UTF8) :]
                line = line.rstrip()
                if number == 1:
                    dimension, n_announced = _inspect_first(name, line)
                    check_dimension(name, dimension, embed_dim)
                    if n_announced is not None:
                        continue
                if not line:
                    continue
                if b"  " in line or line.startswith(b" "):
                    raise UserError(
                        f"{name}:{number}: single spaces must separate a word and its numbers, "
                        f"found {_shown(line)}; the file is damaged, download it again"
                    )
                surplus = line.count(b" ") - embed_dim
                if surplus:
                    end = _end_of_word(name, number, line, surplus)
                else:
                    end = line.index(b" ")
                n_entries += 1
                yield (name, number), line[:end], line[end + 1 :], start
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # The file cannot be opened.
        raise UserError(
            f"{path}: the archive is damaged or truncated ({error}, near line {number}); "
            f"download it again; {GUIDE}"
        ) from None
    _check_number(path, n_entries, n_announced or 0)


def _check_number(path: Path, n_entries: int, n_announced: int) -> None:
    """Checks the number of entries of a file, and that its header announced no more."""
    if n_entries < n_announced:
        raise UserError(
            f"{path}:1: announces {n_announced:,} words, but the file has {n_entries:,}; it is "
            "damaged or truncated, download it again"
        )
    if n_entries == 0:
        raise UserError(f"{path}: the file is empty; {GUIDE}")


def _inspect_first(name: str, line: bytes) -> tuple[int, int | None]:
    """Dimension of the vectors and, in a header of word2vec, number of words, by the first line."""
    fields = line.split(b" ")
    if len(fields) == 2 and all(field.isdigit() and len(field) < 10 for field in fields):
        return int(fields[1]), int(fields[0])
    dimension = 0
    while dimension < len(fields) - 1 and _is_number(fields[-1 - dimension]):
        dimension += 1
    if dimension == 0:
        raise UserError(
            f"{name}:1: expected a word and its vector, found {_shown(line)}; is this a GloVe text "
            "file?"
        )
    return dimension, None


def _end_of_word(name: str, number: int, line: bytes, surplus: int) -> int:
    """Length of the word in a line with too few or too many spaces.

    Some words of GloVe 840B contain spaces (". . ."), so the vector is counted from the right.
    """
    if surplus > 0:
        fields = line.split(b" ", surplus + 1)
        # If a number follows the first space, the vector is too long.
        if not _is_number(fields[1]):
            return len(b" ".join(fields[: surplus + 1]))
    numbers = line.count(b" ")
    raise UserError(
        f"{name}:{number}: expected a word and {numbers - surplus} numbers, found {numbers}: "
        f"{_shown(line)}; the file is damaged or truncated, download it again"
    )


def parse_vector(place: str, text: bytes) -> np.ndarray:
    """Parses numbers separated by single spaces.

    Args:
        place: where the text is from, for error messages.
        text: the numbers.

    Returns:
        (D,) float32.

    Raises:
        UserError: the text contains anything but finite numbers of float32.
    """
    try:
        if b"_" in text:  # `float` accepts 1_0, as Python does.
            raise ValueError
        values = np.array([float(field) for field in text.split(b" ")])
        if not (np.abs(values) <= _LARGEST).all():
            raise ValueError
    except ValueError:
        raise UserError(
            f"{place}: expected finite numbers, found {_shown(text)}; the file is damaged, "
            "download it again"
        ) from None
    return values.astype(np.float32)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field


def _shown(line: bytes) -> str:
    """The beginning of a line as messages quote it."""
    return shown(line[: 4 * (MAX_SHOWN + 1)].decode("utf-8", "replace"))


@contextlib.contextmanager
def _open_text(path: Path, embed_dim: int) -> Iterator[tuple[str, BinaryIO]]:
    """Opens the text of a GloVe file; yields its name for messages and the open file."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            member = _choose_member(archive, path, embed_dim)
            with archive.open(member) as file:
                raw = io.BufferedReader(cast(io.RawIOBase, file), 1 << 20)
                yield f"{path}/{member}", cast(BinaryIO, raw)
    elif suffix == ".gz":
        with gzip.open(path) as file:
            yield str(path), cast(BinaryIO, io.BufferedReader(file, 1 << 20))
    else:
        with path.open("rb", buffering=1 << 20) as file:
            yield str(path), file


def _choose_member(archive: zipfile.ZipFile, path: Path, embed_dim: int) -> str:
    dimensions = {}
    for info in archive.infolist():
        name = info.filename
        if not name.lower().endswith(".txt") or name.startswith("__MACOSX/"):
            continue
        if info.compress_type not in _METHODS:
            raise UserError(f"{path}: {shown(name)} is neither stored nor deflated; pack it again")
        with archive.open(info) as file:
            # Limited, since a binary file may contain no line end for gigabytes.
            first = file.readline(MAX_LINE_BYTES).removeprefix(codecs.BOM_UTF8).rstrip()
            dimensions[name] = _inspect_first(f"{path}/{name}", first)[0]
    if not dimensions:
        raise UserError(f"{path}: the archive contains no .txt file; {GUIDE}")
    if len(dimensions) == 1:
        return next(iter(dimensions))
    fitting = [name for name, dimension in dimensions.items() if dimension == embed_dim]
    if len(fitting) != 1:
        listed = ", ".join(f"{name} ({dimension})" for name, dimension in dimensions.items())
        raise UserError(
            f"{path}: {len(fitting) or 'no'} files with vectors of dimension {embed_dim} "
            f"(config key embed_dim); it contains {listed}"
        )
    return fitting[0]


def check_dimension(name: str | os.PathLike, dimension: int, embed_dim: int) -> None:
    """Checks that the vectors of a source have the dimension that the config expects.

    Raises:
        UserError: they have not.
    """
    if dimension != embed_dim:
        raise UserError(
            f"{name} contains vectors of dimension {dimension}, but the config key embed_dim is "
            f"{embed_dim}: set embed_dim to {dimension}, or word_embed to vectors of dimension "
            f"{embed_dim}"
        )
