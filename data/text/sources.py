"""Sources of word vectors: GloVe text files and spaCy pipelines.

The config key word_embed names a source by

- the path of a GloVe text file `.txt`, `.txt.gz` or `.zip` (if a zip archive contains several
  files, the one whose vectors have dimension embed_dim is read),
- the path of a folder with a saved spaCy pipeline, or
- the name of an installed spaCy package, such as en_core_web_md.

spaCy's English tokenizer splits each word further ("t-shirt" → t, -, shirt), for pipelines that of
their language; words of more than `LONGEST_SPLIT` characters are looked up whole. The vector of a
word is the mean over these parts; a part without a vector counts as zeros. spaCy vectors are looked
up as written; `data.text.pipeline_vectors` says what is read of a pipeline. GloVe vectors are
looked up as written and then in lower case, because GloVe 6B is lower-case.
"""

import functools
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError
from config.run_files.commands import how_to_get
from data.text.glove import GUIDE, read_glove
from data.text.pipeline_vectors import FILES, META, open_pipeline, read_meta

# spaCy takes quadratic time for runs of punctuation: 0.01 s for this many characters, an hour
# for 100,000. No word of a language is this long.
LONGEST_SPLIT = 200
TEXT_SUFFIXES = (".txt", ".txt.gz", ".zip")


@dataclass(frozen=True)
class WordSource:
    """An existing source of word vectors.

    Attributes:
        name: value of word_embed.
        kind: "glove" or "spacy".
        path: the file, or the folder of the pipeline.
        size: total size in bytes of the files that are read.
        mtime_ns: time of the last modification of any of them.
    """

    name: str
    kind: str
    path: Path
    size: int
    mtime_ns: int


def find_source(word_embed: str) -> WordSource:
    """Finds the source that `word_embed` names, without importing spaCy or the package.

    Raises:
        FileNotFoundError: there is no such file, folder or package.
        UserError: it exists but is not a source of word vectors.
    """
    path = Path(word_embed).expanduser()
    if path.is_file():
        if not path.name.lower().endswith(TEXT_SUFFIXES):
            raise UserError(
                f"word_embed {word_embed!r}: the name of a word vector file must end with one of "
                f"{', '.join(TEXT_SUFFIXES)}; {GUIDE}"
            )
        status = path.stat()
        return WordSource(word_embed, "glove", path.resolve(), status.st_size, status.st_mtime_ns)
    if path.is_dir():
        folder = path.resolve()
        if not (folder / META).is_file():
            raise UserError(
                f"word_embed {word_embed!r}: the folder is not a spaCy pipeline ({META} is "
                "missing; nlp.to_disk writes one)"
            )
    else:
        folder = _package_folder(word_embed)
    files = [(folder / name).stat() for name in FILES if (folder / name).is_file()]
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
    """Reads the vectors of words in one pass over the source.

    Args:
        source: from `find_source`.
        words: words without spaces.
        embed_dim: dimension that the vectors must have.

    Returns:
        Word → float32 (embed_dim,), or None if no part of the word has a vector.

    Raises:
        UserError: the source is damaged (the message gives the line), has no vectors, or vectors
            of another dimension.
    """
    tokenizer, find = open_source(source, embed_dim)
    return look_up(words, tokenizer, find)


def open_source(
    source: WordSource, embed_dim: int, find_in_text: Callable | None = None
) -> tuple[Callable, Callable]:
    """Opens a source for repeated lookups.

    Args:
        source, embed_dim: see `read_vectors`.
        find_in_text: function of a set of texts that returns a dict of the vectors of those that
            a GloVe file contains; by default the whole file is read in each call.

    Returns:
        (tokenizer, find) for `look_up`.
    """
    if source.kind == "spacy":
        return open_pipeline(source.path, embed_dim)

    import spacy

    def find(texts):
        read = find_in_text or functools.partial(read_glove, source.path, embed_dim=embed_dim)
        vectors = read(texts | {text.lower() for text in texts})
        return {text: vectors.get(text, vectors.get(text.lower())) for text in texts}

    return spacy.blank("en").tokenizer, find


def look_up(words: Iterable[str], tokenizer: Any, find: Callable) -> dict[str, np.ndarray | None]:
    """Looks up the vectors of words in an opened source.

    Args:
        words: words without spaces.
        tokenizer, find: from `open_source`; the tokenizer is spaCy's.

    Returns:
        Word → float32 (embed_dim,), or None if no part of the word has a vector.
    """
    # Outside a memory zone, spaCy keeps every text that it has ever split.
    with tokenizer.vocab.memory_zone():
        parts = {word: _parts(word, tokenizer) for word in words}
    vectors = find({text for texts in parts.values() for text in texts})
    return {word: _mean([vectors[text] for text in texts]) for word, texts in parts.items()}


def _parts(word: str, tokenizer: Any) -> list[str]:
    if len(word) > LONGEST_SPLIT:
        return [word]
    return [token.text for token in tokenizer(word)]


def _mean(vectors: list[np.ndarray | None]) -> np.ndarray | None:
    known = [vector for vector in vectors if vector is not None]
    return functools.reduce(np.add, known) / np.float32(len(vectors)) if known else None


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None:
        if name.isidentifier():
            way_out = f"to install a spaCy package, run: python -m spacy download {name}"
            if name == "en_vectors_web_lg":
                way_out = (
                    "this package exists only for spaCy 2; it contains the GloVe vectors of Common "
                    "Crawl, so use those of `python data/download.py glove-840b` instead"
                )
        else:
            way_out = how_to_get(name, "relative paths start at the current folder")
        raise FileNotFoundError(
            f"word_embed {name!r}: no such file, folder or installed package; {way_out}; {GUIDE}"
        )
    package = Path(spec.origin).parent
    if (package / META).is_file():
        meta = read_meta(package)
        folder = package / f"{meta['lang']}_{meta.get('name')}-{meta.get('version')}"
        if (folder / META).is_file():
            return folder
    raise UserError(f"word_embed {name!r}: the package {package} is not a spaCy pipeline; {GUIDE}")
