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

import functools
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.text.glove import GUIDE, check_dimension, read_glove

TEXT_SUFFIXES = (".txt", ".txt.gz", ".zip")
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
                f"{', '.join(TEXT_SUFFIXES)}; {GUIDE}"
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
    tokenizer, find = open_source(source, embed_dim)
    return look_up(words, tokenizer, find)


def open_source(
    source: WordSource, embed_dim: int, find_in_text: Callable | None = None
) -> tuple[Callable, Callable]:
    """A source ready for many look-ups.

    Args:
        source, embed_dim: as of `read_vectors`.
        find_in_text: set of texts → {text: vector} of those that a GloVe file has; the default
            reads the whole file at each call.

    Returns:
        (tokenizer, find) for `look_up`.
    """
    if source.kind == "spacy":
        tokenizer, vector_of = _open_spacy(source, embed_dim)
        return tokenizer, lambda texts: {text: vector_of(text) for text in texts}

    import spacy

    def find(texts):
        read = find_in_text or functools.partial(read_glove, source.path, embed_dim=embed_dim)
        found = read(texts | {text.lower() for text in texts})
        return {text: found.get(text, found.get(text.lower())) for text in texts}

    return spacy.blank("en").tokenizer, find


def look_up(
    words: Iterable[str], tokenizer: Callable, find: Callable
) -> dict[str, np.ndarray | None]:
    """Vectors of words in an opened source; result as of `read_vectors`."""
    parts = {word: [token.text for token in tokenizer(word)] for word in words}
    vectors = find({text for texts in parts.values() for text in texts})
    return {word: _mean([vectors[text] for text in texts]) for word, texts in parts.items()}


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
            f"word_embed {name!r}: no such file, folder or installed package; {way_out}; {GUIDE}"
        )
    folder = Path(spec.origin).parent
    if not (folder / "meta.json").is_file():
        raise ValueError(f"word_embed {name!r}: the package {folder} is no spaCy pipeline; {GUIDE}")
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
            f"ends in _sm have none, take _md or _lg); {GUIDE}"
        )
    check_dimension(source.name, nlp.vocab.vectors_length, embed_dim)

    def vector_of(text):
        return nlp.vocab.get_vector(text) if nlp.vocab.has_vector(text) else None

    return nlp.tokenizer, vector_of
