"""Writes a folder that grounds expressions with numpy, pillow and onnxruntime alone.

| file | content |
|---|---|
| `ground.py` | a function and a command line |
| `whole.onnx`, `whole.onnx.json` | the network and its description |
| `words.txt`, `vectors.npy` | one word per line, and their vectors from row 1 on; row 0 is zero |
"""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from config.errors import UserError
from config.files import check_free_space, write_bytes, write_text
from config.schema import Config
from data.support.staging import complete_interrupted, replaced_together
from data.text.glove import glove_entries
from data.text.sources import find_source
from data.text.vectors import WordTable, build_word_table, tokenize
from utils.export.description import described, read_description
from utils.export.files import require_converters, variable_bytes, write_onnx
from utils.export.formats import ExportError
from utils.export.graph import build_exportables
from utils.prediction.grounder import load_grounder

SCRIPT, NETWORK, WORDS, VECTORS = "ground.py", "whole.onnx", "words.txt", "vectors.npy"
DESCRIPTION = f"{NETWORK}.json"
# Without --vocabulary, all words of a source are included up to this number.
MOST_WORDS = 50_000


def write_bundle(
    config: Config,
    weights: str | os.PathLike | None,
    folder: str | os.PathLike,
    vocabulary: str | os.PathLike | None = None,
    check_loaded: Callable[[], object] | None = None,
) -> Path:
    """Writes the folder. An earlier bundle is replaced as a whole; changed and other files stay.

    Args:
        config: `config.schema.Config` of a network that reads word vectors.
        weights: file for `model.weights.load_weights`; None for config.evaluate_model.
        folder: created if it does not exist.
        vocabulary: any text file, all words of which are included as far as they have a vector;
            None includes all words of config.word_embed.
        check_loaded: called once the weights are loaded; raises an error if they are not those of
            the config.

    Returns:
        The folder.

    Raises:
        ConversionError: packages are missing.
        ExportError: something else is in the folder, the network reads word
            pieces, or there are too many words.
        NoSpaceError: the disk is full; an earlier bundle is as it was.
        UserError, OSError: the weights, words or settings cannot be used.
    """
    require_converters()
    folder = Path(folder)
    _check_replaceable(folder)
    table = _read_table(config, vocabulary)
    grounder = load_grounder(
        config, weights, engine="tensorflow", precision="float32", crop_taps=False
    )
    if check_loaded is not None:
        check_loaded()
    print(grounder.weights_report)
    exportable = build_exportables(grounder, bool(config.use_nls))["whole"]
    needed = variable_bytes(exportable) + table.vectors.nbytes
    check_free_space(folder, needed, str(folder), "free some space or name another folder")
    with replaced_together(folder, is_ours=_is_ours) as (new,):
        new.mkdir()
        write_onnx(exportable, new / NETWORK)
        write_text(new / WORDS, "".join(f"{word}\n" for word in table.index))
        vectors = io.BytesIO()  # To a file, np.save reports a full disk without its error number.
        np.save(vectors, table.vectors)
        write_bytes(new / VECTORS, vectors.getbuffer())
        shutil.copyfile(Path(__file__).with_name(SCRIPT), new / SCRIPT)
        source = weights or config.evaluate_model
        write_text(new / DESCRIPTION, described(config, source, exportable, new))
    return folder


def _check_replaceable(folder: Path) -> None:
    """Refuses folders with anything in them but an earlier bundle."""
    complete_interrupted(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder) and read_description(folder / DESCRIPTION) is None:
        raise ExportError(f"{folder}: something else is in the way; name another folder")


def _is_ours(folder: Path, path: Path) -> bool:
    """Whether a file in a folder is of the bundle there and was not changed since."""
    written = read_description(folder / DESCRIPTION)
    if written is None:
        return False
    return written.unchanged if path == Path(DESCRIPTION) else written.is_as_written(folder, path)


def _read_table(config: Config, vocabulary: str | os.PathLike | None) -> WordTable:
    if config.text_input == "pieces":
        raise ExportError(
            f"text_encoder={config.text_encoder}: a bundle needs a network that reads word "
            "vectors; export this one with --format onnx"
        )
    words = _all_words(config) if vocabulary is None else _words_of(vocabulary)
    table = build_word_table(config.word_embed, words, config.embed_dim)
    if not table.index:
        raise ExportError(f"{vocabulary}: none of its words has a vector in {config.word_embed}")
    if vocabulary is not None and (n_missing := len(words - table.index.keys())):
        print(
            f"{vocabulary}: {n_missing:,} of its {len(words):,} words and other texts have no "
            f"vector in {config.word_embed} and are not included"
        )
    return table


def _words_of(path: str | os.PathLike) -> set[str]:
    if Path(path).exists() and not Path(path).is_file():  # Opening a pipe waits for a writer.
        raise UserError(f"{path}: not a file; name a text file with the words to include")
    try:
        return set(tokenize(Path(path).read_text(encoding="utf-8-sig")))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}): save it as UTF-8") from None


def _all_words(config: Config) -> set[str]:
    """All words of the source, unless they are too many for a small folder."""
    words: set[str] = set()
    source = find_source(config.word_embed)
    if source.kind == "glove":
        for _, entry, _, _ in glove_entries(source.path, config.embed_dim):
            word = entry.decode(errors="replace")
            if tokenize(word) == [word]:
                words.add(word)
            if len(words) > MOST_WORDS:
                break
    if not 0 < len(words) <= MOST_WORDS:
        raise ExportError(
            f"word_embed {config.word_embed}: name the words to include with --vocabulary FILE, "
            "any text file with them, such as the annotation file of the training set"
        )
    return words
