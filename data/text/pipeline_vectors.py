"""Word vectors of a saved spaCy pipeline, without running anything that its folder describes.

Read are `meta.json` (the language), `vocab/vectors` and `vocab/vectors.cfg` (the table) and
`vocab/key2row` (the rows of the words): numbers and names. `spacy.load` would also read
`config.cfg`, which names functions to call and modules to import, and the regular expressions of
the folder's tokenizer, which may take forever. Words are split by spaCy's own tokenizer of the
language instead.
"""

import gc
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError, shown
from config.json_text import parse_json
from data.text.glove import GUIDE, check_dimension

META, TABLE, TABLE_SETTINGS, ROWS = FILES = (
    "meta.json",
    "vocab/vectors",
    "vocab/vectors.cfg",
    "vocab/key2row",
)
MAX_JSON_BYTES = 16_000_000
# What NumPy's and spaCy's readers raise for damaged files is documented nowhere.
_ANY = Exception


def read_meta(folder: Path) -> dict[str, Any]:
    """Reads the `meta.json` of a pipeline or of its package.

    Raises:
        UserError: it is missing, damaged, or names no language.
    """
    meta = _read_json(folder / META)
    if not re.fullmatch("[a-z]{2,3}", str(meta.get("lang"))):
        raise UserError(f"{folder / META}: names no language, such as en")
    return meta


def open_pipeline(folder: Path, embed_dim: int) -> tuple[Callable, Callable]:
    """Opens the word vectors of a pipeline.

    Args:
        folder: a folder that `nlp.to_disk` wrote.
        embed_dim: dimension that the vectors must have.

    Returns:
        (tokenizer, find): spaCy's tokenizer of the pipeline's language, and a function of a set of
        texts that returns text → vector, (embed_dim,), or None.

    Raises:
        UserError: files are missing or damaged, or the vectors have another dimension.
    """
    vectors = _read_table(folder)
    if 0 in vectors.shape:
        raise UserError(
            f"{folder}: the pipeline has no word vectors (packages whose name ends with _sm have "
            f"none, use _md or _lg); {GUIDE}"
        )
    check_dimension(folder, vectors.shape[1], embed_dim)
    row_of = _read_rows(folder, len(vectors))

    from spacy.strings import get_string_id

    def find(texts: set[str]) -> dict[str, np.ndarray | None]:
        rows = {text: row_of.get(get_string_id(text)) for text in texts}
        found = {t: None if row is None else np.array(vectors[row]) for t, row in rows.items()}
        for text, vector in found.items():
            if vector is not None and not np.isfinite(vector).all():
                raise UserError(f"{folder / TABLE}: the vector of {shown(text)} is not finite")
        return found

    return _tokenizer(folder), find


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; nlp.to_disk of spaCy 3 writes it")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UserError(f"{path}: too large for a file of settings")
    content = parse_json(path.read_bytes(), path, error=UserError)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a JSON object")
    return content


def _read_table(folder: Path) -> np.ndarray:
    """The table of vectors, (rows, dimension) floating point, mapped from disk."""
    path, settings = folder / TABLE, folder / TABLE_SETTINGS
    mode = _read_json(settings).get("mode") if settings.is_file() else "default"
    if mode != "default":
        raise UserError(
            f"{settings}: vectors in the mode {shown(mode)} are not supported; use a pipeline with "
            f"one vector per word; {GUIDE}"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file; nlp.to_disk of spaCy 3 writes it")
    try:
        table = np.lib.format.open_memmap(path, mode="r")
    except _ANY as error:
        # A table of no rows cannot be mapped, and is all that is allowed to be this small.
        if _is_empty_table(path):
            return np.zeros((0, 0), np.float32)
        raise _damaged(path, error) from None
    if table.ndim != 2 or table.dtype.kind != "f":
        raise UserError(
            f"{path}: expected a table of floating-point numbers, found {table.dtype} of shape "
            f"{table.shape}"
        )
    return table


def _is_empty_table(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return False
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            return 0 in shape
    except _ANY:
        return False


def _read_rows(folder: Path, count: int) -> dict[int, int]:
    """Row by spaCy's hash of the word."""
    from spacy.vectors import Vectors

    path = folder / ROWS
    if not path.is_file():
        raise UserError(f"{path}: no such file; nlp.to_disk of spaCy 3 writes it")
    try:
        names = [Path(name).name for name in (TABLE, TABLE_SETTINGS)]
        rows = Vectors().from_disk(path.parent, exclude=["strings", "keys", *names]).key2row
        fits = all(type(key) is type(row) is int and 0 <= row < count for key, row in rows.items())
    except _ANY as error:
        raise _damaged(path, error) from None
    finally:
        gc.enable()  # spaCy's reader turns it off and, after an error, leaves it so.
    if not fits:
        raise UserError(
            f"{path}: holds rows that {folder / TABLE} has not; the pipeline is damaged"
        )
    return rows


def _tokenizer(folder: Path) -> Callable:
    import spacy

    language = read_meta(folder)["lang"]
    if importlib.util.find_spec(f"spacy.lang.{language}") is None:
        raise UserError(f"{folder / META}: spaCy has no language {shown(language)}")
    try:
        return spacy.blank(language).tokenizer
    except ImportError as error:
        raise UserError(
            f"{folder / META}: spaCy's {shown(language)} needs more packages: {error}"
        ) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: damaged or not written by spaCy 3 ({type(error).__name__}: {error})")
