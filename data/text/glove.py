"""GloVe text files: a word and its numbers a line, plain, gzipped or in a zip."""

import contextlib
import gzip
import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

GUIDE = "data/README.md, section 'Word vectors', has the commands that fetch one"


def read_glove(path: Path, wanted: set[str], embed_dim: int) -> dict[str, np.ndarray]:
    """The wanted words of a text file that are in it; only their numbers are read."""
    wanted_bytes = {word.encode(): word for word in wanted}
    found: dict[str, np.ndarray] = {}
    for place, entry, numbers, _ in glove_entries(path, embed_dim):
        word = wanted_bytes.get(entry)
        if word is not None and word not in found:
            found[word] = parse_vector(f"{place[0]}:{place[1]}", numbers)
    return found


def glove_entries(path: Path, embed_dim: int) -> Iterator[tuple]:
    """The entries of a GloVe text file, to its end.

    Yields:
        ((name, line number) for messages, word, the rest of the line, byte offset of the line).

    Raises:
        ValueError: the file is damaged, cut off or empty, or its vectors have another dimension.
    """
    number = offset = 0
    try:
        with _open_text(path, embed_dim) as (name, lines):
            for number, line in enumerate(lines, start=1):
                start, offset = offset, offset + len(line)
                line = line.rstrip()
                if number == 1:
                    dimension, is_header = _inspect_first(name, line)
                    check_dimension(name, dimension, embed_dim)
                    if is_header:
                        continue
                if not line:
                    continue
                surplus = line.count(b" ") - embed_dim
                if surplus:
                    end = _end_of_word(name, number, line, surplus)
                else:
                    end = line.index(b" ")
                yield (name, number), line[:end], line[end + 1 :], start
    # RuntimeError: a zip that asks for a password or an unknown compression.
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, RuntimeError) as error:
        raise ValueError(
            f"{path}: the archive is damaged or cut off ({error}, about line {number}); "
            f"fetch it again; {GUIDE}"
        ) from None
    if number == 0:
        raise ValueError(f"{path}: the file is empty; {GUIDE}")


def _inspect_first(name: str, line: bytes) -> tuple[int, bool]:
    """Numbers a vector has by the first line, and whether this is a word2vec header."""
    fields = line.split(b" ")
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        return int(fields[1]), True
    dimension = 0
    while dimension < len(fields) - 1 and _is_number(fields[-1 - dimension]):
        dimension += 1
    if dimension == 0:
        raise ValueError(
            f"{name}:1: expected a word and its numbers, found {_shown(line)}; is it GloVe text?"
        )
    return dimension, False


def _end_of_word(name: str, number: int, line: bytes, surplus: int) -> int:
    """Where the word ends in a line that has too few or too many blanks.

    GloVe 840B has words with blanks in them (". . ."), so a line is read from the right.
    """
    if surplus > 0:
        fields = line.split(b" ", surplus + 1)
        # A number behind the first blank: too many numbers and not a word with blanks.
        if not _is_number(fields[1]):
            return len(b" ".join(fields[: surplus + 1]))
    numbers = line.count(b" ")
    raise ValueError(
        f"{name}:{number}: expected a word and {numbers - surplus} numbers, found {numbers}: "
        f"{_shown(line)}; the file is damaged or cut off, fetch it again"
    )


def parse_vector(place: str, text: bytes) -> np.ndarray:
    """Numbers with single blanks between them → float32; `place` says where they stand.

    Raises:
        ValueError: something else stands there.
    """
    try:
        values = [float(field) for field in text.split(b" ")]
        if not all(map(math.isfinite, values)):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{place}: expected finite numbers, found {_shown(text)}; the file is damaged"
        ) from None
    return np.array(values, np.float32)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _shown(line: bytes) -> str:
    text = line[:60].decode("utf-8", "replace")
    return repr(text + ("…" if len(line) > 60 else ""))


@contextlib.contextmanager
def _open_text(path: Path, embed_dim: int) -> Iterator[tuple[str, io.BufferedIOBase]]:
    """Open the text of a GloVe file; yields its name for messages and its lines."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            member = _choose_member(archive, path, embed_dim)
            with archive.open(member) as file:
                yield f"{path}/{member}", io.BufferedReader(file, 1 << 20)
    elif suffix == ".gz":
        with gzip.open(path) as file:
            yield str(path), io.BufferedReader(file, 1 << 20)
    else:
        with path.open("rb", buffering=1 << 20) as file:
            yield str(path), file


def _choose_member(archive: zipfile.ZipFile, path: Path, embed_dim: int) -> str:
    dimensions = {}
    for info in archive.infolist():
        name = info.filename
        if not name.lower().endswith(".txt") or name.startswith("__MACOSX/"):
            continue
        with archive.open(info) as file:
            # Bounded: a member that is no text may have no line end for gigabytes.
            dimensions[name] = _inspect_first(f"{path}/{name}", file.readline(1 << 16).rstrip())[0]
    if not dimensions:
        raise ValueError(f"{path}: the archive holds no .txt file; {GUIDE}")
    if len(dimensions) == 1:
        return next(iter(dimensions))
    fitting = [name for name, dimension in dimensions.items() if dimension == embed_dim]
    if len(fitting) != 1:
        listed = ", ".join(f"{name} ({dimension})" for name, dimension in dimensions.items())
        raise ValueError(
            f"{path}: {len(fitting) or 'no'} files with vectors of {embed_dim} numbers, which the "
            f"config key embed_dim asks for; it holds {listed}"
        )
    return fitting[0]


def check_dimension(name: str | os.PathLike, found: int, embed_dim: int) -> None:
    if found != embed_dim:
        raise ValueError(
            f"{name} holds vectors of {found} numbers, the config key embed_dim says {embed_dim}: "
            f"set embed_dim to {found} or word_embed to vectors of {embed_dim}"
        )
