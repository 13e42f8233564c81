"""Where word vectors come from: GloVe text files and spaCy pipelines.

A source is named by one string (the config key word_embed):

- a GloVe text file `.txt`, `.txt.gz` or `.zip` (of the members of a zip the one with embed_dim
  numbers a line is read);
- a folder with a saved spaCy pipeline;
- the name of an installed spaCy package, such as en_core_web_md.

Either way a token is split further by spaCy's English tokenizer ("t-shirt" → t, -, shirt) and its
vector is the mean over these parts, a part without a vector counting as zeros. spaCy vectors are
looked up as written. GloVe vectors are looked up as written and then, because GloVe 6B is
lower-cased, in lower case.
"""

import contextlib
import gzip
import importlib.util
import io
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TEXT_SUFFIXES = (".txt", ".txt.gz", ".zip")
_GUIDE = "data/README.md, section 'Word vectors', has the commands that fetch one"
# Only the vocabulary and the tokenizer are used; leaving these out saves seconds and memory.
_UNUSED_PIPES = [
    "tok2vec",
    "transformer",
    "tagger",
    "morphologizer",
    "parser",
    "senter",
    "ner",
    "attribute_ruler",
    "lemmatizer",
]


@dataclass(frozen=True)
class WordSource:
    """A source that exists.

    Attributes:
        name: as given.
        kind: "glove" or "spacy".
        path: the file, or the folder of the pipeline or package.
        size: bytes of the file or of all files of the folder.
        mtime_ns: time of the last change to any of them.
    """

    name: str
    kind: str
    path: Path
    size: int
    mtime_ns: int


def find_source(word_embed: str) -> WordSource:
    """Find out what `word_embed` names; imports neither spaCy nor the package.

    Raises:
        FileNotFoundError: there is no such file, folder or package.
        ValueError: it exists and is no source of word vectors.
    """
    path = Path(word_embed).expanduser()
    if path.is_file():
        if not path.name.lower().endswith(TEXT_SUFFIXES):
            raise ValueError(
                f"word_embed {word_embed!r}: a file of word vectors ends in "
                f"{', '.join(TEXT_SUFFIXES)}; {_GUIDE}"
            )
        status = path.stat()
        return WordSource(word_embed, "glove", path.resolve(), status.st_size, status.st_mtime_ns)
    if path.is_dir():
        folder = path.resolve()
        if not (folder / "config.cfg").is_file():
            raise ValueError(
                f"word_embed {word_embed!r}: the folder holds no spaCy pipeline (config.cfg is "
                "missing; nlp.to_disk writes one)"
            )
    else:
        folder = _package_folder(word_embed)
    files = [file.stat() for file in folder.rglob("*") if "__pycache__" not in file.parts]
    return WordSource(
        name=word_embed,
        kind="spacy",
        path=folder,
        size=sum(status.st_size for status in files),
        mtime_ns=max(status.st_mtime_ns for status in files),
    )


def read_vectors(
    source: WordSource, words: Iterable[str], embed_dim: int
) -> dict[str, np.ndarray | None]:
    """Vectors of the given words, in one pass over the source.

    Args:
        source: from `find_source`.
        words: tokens without blanks in them.
        embed_dim: numbers a vector must have.

    Returns:
        word → float32 (embed_dim,), or None if no part of the word has a vector.

    Raises:
        ValueError: the source is damaged (named with its line), holds no vectors, or vectors of
            another dimension than embed_dim.
    """
    if source.kind == "spacy":
        tokenizer, vector_of = _open_spacy(source, embed_dim)
        parts = _split(tokenizer, words)
    else:
        import spacy

        parts = _split(spacy.blank("en").tokenizer, words)
        wanted = {text for texts in parts.values() for text in texts}
        found = _read_glove(source.path, wanted | {text.lower() for text in wanted}, embed_dim)

        def vector_of(text):
            return found.get(text, found.get(text.lower()))

    return {word: _mean([vector_of(text) for text in texts]) for word, texts in parts.items()}


def _split(tokenizer: Callable, words: Iterable[str]) -> dict[str, list[str]]:
    return {word: [token.text for token in tokenizer(word)] for word in words}


def _mean(vectors: list[np.ndarray | None]) -> np.ndarray | None:
    known = [vector for vector in vectors if vector is not None]
    return sum(known) / np.float32(len(vectors)) if known else None


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None:
        if name.isidentifier():
            way_out = f"if it is a spaCy package: python -m spacy download {name}"
            if name == "en_vectors_web_lg":
                way_out = (
                    "this package exists for spaCy 2 only; its vectors are GloVe's of Common "
                    "Crawl, so name glove.840B.300d.zip here"
                )
        else:
            way_out = "relative paths start at the folder that the command runs in"
        raise FileNotFoundError(
            f"word_embed {name!r}: no such file, folder or installed package; {way_out}; {_GUIDE}"
        )
    folder = Path(spec.origin).parent
    if not (folder / "meta.json").is_file():
        raise ValueError(
            f"word_embed {name!r}: the package {folder} is no spaCy pipeline; {_GUIDE}"
        )
    return folder


def _open_spacy(source: WordSource, embed_dim: int) -> tuple[Callable, Callable]:
    """Tokenizer and text → vector or None, of a spaCy pipeline."""
    import spacy

    # A package's own folder holds its loader; spacy.load wants the name then.
    is_folder = Path(source.name).expanduser().is_dir()
    try:
        nlp = spacy.load(source.path if is_folder else source.name, exclude=_UNUSED_PIPES)
    except Exception as error:  # spaCy passes on whatever a file of the pipeline causes
        raise ValueError(
            f"word_embed {source.name!r}: spaCy cannot load the pipeline: "
            f"{type(error).__name__}: {error}"
        ) from error
    if nlp.vocab.vectors_length == 0:
        raise ValueError(
            f"word_embed {source.name!r}: the pipeline holds no word vectors (packages whose name "
            f"ends in _sm have none, take _md or _lg); {_GUIDE}"
        )
    _check_dimension(source.name, nlp.vocab.vectors_length, embed_dim)

    def vector_of(text):
        return nlp.vocab.get_vector(text) if nlp.vocab.has_vector(text) else None

    return nlp.tokenizer, vector_of


def _check_dimension(name: str | os.PathLike, found: int, embed_dim: int) -> None:
    if found != embed_dim:
        raise ValueError(
            f"{name} holds vectors of {found} numbers, the config key embed_dim says {embed_dim}: "
            f"set embed_dim to {found} or word_embed to vectors of {embed_dim}"
        )


def _read_glove(path: Path, wanted: set[str], embed_dim: int) -> dict[str, np.ndarray]:
    """The wanted words of a text file that are in it; only their numbers are read."""
    wanted_bytes = {word.encode(): word for word in wanted}
    found: dict[str, np.ndarray] = {}
    number = 0
    try:
        with _open_text(path, embed_dim) as (name, lines):
            for number, line in enumerate(lines, start=1):
                line = line.rstrip()
                if number == 1:
                    dimension, is_header = _inspect_first(name, line)
                    _check_dimension(name, dimension, embed_dim)
                    if is_header:
                        continue
                if not line:
                    continue
                surplus = line.count(b" ") - embed_dim
                if surplus:
                    end = _end_of_word(name, number, line, surplus)
                else:
                    end = line.index(b" ")
                word = wanted_bytes.get(line[:end])
                if word is not None and word not in found:
                    found[word] = _parse_vector(name, number, line[end + 1 :])
    # RuntimeError: a zip that asks for a password or an unknown compression.
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, RuntimeError) as error:
        raise ValueError(
            f"{path}: the archive is damaged or cut off ({error}, about line {number}); "
            f"fetch it again; {_GUIDE}"
        ) from None
    if number == 0:
        raise ValueError(f"{path}: the file is empty; {_GUIDE}")
    return found


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


def _parse_vector(name: str, number: int, text: bytes) -> np.ndarray:
    try:
        values = [float(field) for field in text.split(b" ")]
        if not all(map(math.isfinite, values)):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{name}:{number}: expected finite numbers, found {_shown(text)}; the file is damaged"
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
        raise ValueError(f"{path}: the archive holds no .txt file; {_GUIDE}")
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
