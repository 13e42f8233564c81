"""The folder at `bert_path`: the format of its BERT checkpoint, architecture and vocabulary.

Two formats are supported: the files published by Google (`bert_config.json`, `vocab.txt`,
`bert_model.ckpt.*`) and a keras-hub preset (`config.json`, `tokenizer.json`, …). Both the network
and the tokenisation of expressions depend on them, so this module belongs to neither.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from config.errors import ConfigError, shown
from config.json_text import parse_json

# Files of each format, in the order: settings, vocabulary, others.
ORIGINAL_FILES = (
    "bert_config.json",
    "vocab.txt",
    "bert_model.ckpt.index",
    "bert_model.ckpt.data-00000-of-00001",
)
PRESET_FILES = (
    "config.json",
    "assets/tokenizer/vocabulary.txt",
    "tokenizer.json",
    "model.weights.h5",
)
WEIGHT_FILES = (*ORIGINAL_FILES[2:], PRESET_FILES[3])

# Word pieces that every vocabulary must have; padding is id 0.
PADDING = "[PAD]"
SPECIAL_PIECES = (PADDING, "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# The largest files that are read and the largest BERT that is built; BERT-large has 24 layers of
# 1,024 channels, 0.34 billion parameters and a vocabulary of 0.2 MB.
MOST_JSON_BYTES, MOST_VOCABULARY_BYTES = 1_000_000, 50_000_000
MOST_PARAMETERS = 2_000_000_000
MOST_PIECE_BYTES = 256  # Of KerasHub's tokenizer, without the "##" of pieces within a word.
UPPER_BOUNDS = {
    "vocabulary_size": 1_000_000,
    "num_layers": 100,
    "num_heads": 1000,
    "hidden_dim": 20_000,
    "intermediate_dim": 100_000,
    "max_sequence_length": 100_000,
    "num_segments": 100,
}

# bert_config.json → arguments of keras-hub's BertBackbone.
ARGUMENT_OF = {
    "vocab_size": "vocabulary_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "hidden_size": "hidden_dim",
    "intermediate_size": "intermediate_dim",
    "max_position_embeddings": "max_sequence_length",
    "type_vocab_size": "num_segments",
    "hidden_dropout_prob": "dropout",
}


@dataclass(frozen=True)
class BertFolder:
    """Description of a BERT checkpoint on disk, read without its weights.

    Attributes:
        path: the folder.
        original: True for Google's files, False for a keras-hub preset.
        architecture: arguments of `keras_hub.models.BertBackbone`: vocabulary_size, num_layers,
            num_heads, hidden_dim, intermediate_dim, max_sequence_length, num_segments, dropout.
        vocabulary: word pieces in the order of their ids; the first is [PAD].
        lowercase: whether expressions are lowercased and, with Google's files, stripped of
            accents. A preset sets it in its tokenizer.json.
    """

    path: Path
    original: bool
    architecture: dict[str, Any]
    vocabulary: tuple[str, ...]
    lowercase: bool

    @property
    def checkpoint(self) -> Path:
        """Common prefix of Google's checkpoint files, or the weight file of the preset."""
        return self.path / ("bert_model.ckpt" if self.original else PRESET_FILES[3])

    def checksum(self) -> str:
        """SHA-256 of what it reads and how, without its weights, as hexadecimal digits."""
        read = repr((sorted(self.architecture.items()), self.vocabulary, self.lowercase))
        return hashlib.sha256(read.encode()).hexdigest()


def read_bert_folder(path: str | os.PathLike, weights: bool = False) -> BertFolder:
    """Reads the settings and vocabulary of a BERT checkpoint.

    Google's files do not record whether the model is uncased. A boolean "do_lower_case" in
    bert_config.json decides; without it, a model counts as uncased if no piece of its vocabulary
    contains a capital letter A–Z, special pieces such as [CLS] aside.

    Args:
        path: the folder, config key bert_path.
        weights: whether the weight files must exist as well.

    Raises:
        ConfigError: files are missing, damaged, or do not belong together; the message lists the
            required files.
    """
    path = Path(path)
    original = (path / ORIGINAL_FILES[0]).exists() or not (path / PRESET_FILES[0]).exists()
    files = ORIGINAL_FILES if original else PRESET_FILES
    needed = [name for name in files if weights or name not in WEIGHT_FILES]
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise ConfigError(_what_is_missing(path, missing))
    settings = _read_json(path / files[0])
    read = _original_architecture if original else _preset_architecture
    architecture = read(settings, path / files[0])
    vocabulary = _read_vocabulary(path / files[1], architecture["vocabulary_size"], files[0])
    if original:
        uncased = not any(map(_has_capital, vocabulary))
        place = f"{path / files[0]}: do_lower_case"
        lowercase = _checked_switch(settings.get("do_lower_case", uncased), place)
    else:
        lowercase = _preset_lowercase(path / PRESET_FILES[2])
    return BertFolder(path, original, architecture, vocabulary, lowercase)


def import_keras_hub() -> ModuleType:
    """Imports the optional package keras_hub, which only the text encoder "bert" needs.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ConfigError(
            f"text_encoder = bert needs keras-hub ({error}): pip install -r requirements-bert.txt"
        ) from None
    return keras_hub


def _what_is_missing(path: Path, missing: Sequence[str]) -> str:
    if not path.is_dir():
        problem = "is a file, must be a folder" if path.exists() else "no such folder"
    else:
        problem = f"lacks {', '.join(missing)}"
    return (
        f"bert_path = {path}: {problem}. It must hold Google's files ({', '.join(ORIGINAL_FILES)}) "
        f"or a keras-hub preset ({', '.join(PRESET_FILES)}); `python data/download.py bert` "
        "fetches the former, and data/README.md describes both"
    )


def _read_json(path: Path) -> dict[str, Any]:
    return _object(parse_json(_read_bounded(path, MOST_JSON_BYTES), path), path)


def _read_bounded(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ConfigError(f"{path}: has more than {most_bytes:,} bytes; not a file of BERT")
    return content


def _object(content: Any, place: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{place}: holds a {type(content).__name__}, must be a JSON object")
    return content


def _checked_switch(value: Any, place: str) -> bool:
    if type(value) is not bool:
        raise ConfigError(f"{place} is {shown(value)}, must be true or false")
    return value


def _original_architecture(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if settings.get("hidden_act", "gelu") != "gelu":
        raise ConfigError(f'{path}: hidden_act = {shown(settings["hidden_act"])}: must be "gelu"')
    rates = [settings.get(f"{name}_dropout_prob", 0.1) for name in ("hidden", "attention_probs")]
    if rates[0] != rates[1]:
        raise ConfigError(
            f"{path}: hidden_dropout_prob {shown(rates[0])} and attention_probs_dropout_prob "
            f"{shown(rates[1])} differ, but keras-hub's BERT has only one rate; write the one to "
            "use in both places"
        )
    defaults = {"hidden_dropout_prob": 0.1}
    return _checked_architecture({**defaults, **settings}, ARGUMENT_OF, path)


def _preset_architecture(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if settings.get("class_name") != "BertBackbone":
        described = settings.get("class_name") or settings.get("model_type", "something else")
        raise ConfigError(
            f"{path}: describes {shown(described)}, not a BertBackbone of keras-hub. A BERT in "
            "another format must be converted first; data/README.md says how"
        )
    arguments = {argument: argument for argument in ARGUMENT_OF.values()}
    settings = _object(settings.get("config", {}), f"{path}: config")
    return _checked_architecture(settings, arguments, path)


def _checked_architecture(
    settings: Mapping[str, Any], arguments: Mapping[str, str], path: Path
) -> dict[str, Any]:
    """Renames settings to arguments of BertBackbone and checks their types.

    Args:
        settings: as the file at `path` has them.
        arguments: argument by key of `settings`.
        path: the file, for error messages.
    """
    architecture: dict[str, Any] = {}
    for key, argument in arguments.items():
        value: Any = settings.get(key)
        if argument == "dropout":
            fits, expected = type(value) in (int, float) and 0 <= value < 1, "a number in 0..1"
        else:
            most = UPPER_BOUNDS[argument]
            fits = type(value) is int and 0 < value <= most
            expected = f"a whole number in 1..{most}"
        if not fits:
            problem = f"is {shown(value)}" if key in settings else "is missing"
            raise ConfigError(f"{path}: {key} {problem}, must be {expected}")
        architecture[argument] = value
    if architecture["hidden_dim"] % architecture["num_heads"]:
        raise ConfigError(
            f"{path}: the hidden size {architecture['hidden_dim']} is not a multiple of "
            f"the {architecture['num_heads']} attention heads"
        )
    if (parameters := _parameters(architecture)) > MOST_PARAMETERS:
        raise ConfigError(
            f"{path}: describes a BERT of {parameters:,} parameters; at most {MOST_PARAMETERS:,} "
            "are supported"
        )
    return architecture


def _parameters(architecture: Mapping[str, Any]) -> int:
    """The number of parameters, without biases and normalization."""
    width = architecture["hidden_dim"]
    rows = ("vocabulary_size", "max_sequence_length", "num_segments")
    layer = 4 * width**2 + 2 * width * architecture["intermediate_dim"]
    return sum(architecture[key] for key in rows) * width + architecture["num_layers"] * layer


def _preset_lowercase(path: Path) -> bool:
    settings = _read_json(path)
    if settings.get("class_name") != "BertTokenizer":
        raise ConfigError(
            f"{path}: describes {settings.get('class_name')!r}, must be a BertTokenizer"
        )
    settings = _object(settings.get("config", {}), f"{path}: config")
    return _checked_switch(settings.get("lowercase", False), f"{path}: lowercase")


def _read_vocabulary(path: Path, size: int, settings_name: str) -> tuple[str, ...]:
    try:
        text = _read_bounded(path, MOST_VOCABULARY_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error}); download it again") from None
    text = text.removesuffix("\n")
    if (count := text.count("\n") + 1) != size:
        raise ConfigError(
            f"{path}: holds {count} word pieces, but {settings_name} says {size}; the "
            "files belong to different checkpoints"
        )
    vocabulary = tuple(line.strip() for line in text.split("\n"))
    absent = [piece for piece in SPECIAL_PIECES if piece not in vocabulary]
    if absent:
        raise ConfigError(f"{path}: lacks {', '.join(absent)}; not a vocabulary of BERT")
    if vocabulary[0] != PADDING:
        raise ConfigError(f"{path}: line 1 is {vocabulary[0]!r}, must be {PADDING}")
    _check_pieces(vocabulary, path)
    return vocabulary


def _check_pieces(vocabulary: Sequence[str], path: Path) -> None:
    """Checks what KerasHub's tokenizer demands of word pieces."""
    lines: dict[str, int] = {}
    for number, piece in enumerate(vocabulary, start=1):
        if (first := lines.setdefault(piece, number)) != number:
            fault = f"is {shown(piece)}, as line {first} is"
        elif "\0" in piece:
            fault = "contains NUL"
        elif len(piece.removeprefix("##").encode()) > MOST_PIECE_BYTES:
            fault = f"has more than {MOST_PIECE_BYTES} bytes"
        else:
            continue
        raise ConfigError(f"{path}:{number}: the word piece {fault}; download the file again")


def _has_capital(piece: str) -> bool:
    if piece.startswith("[") and piece.endswith("]"):
        return False
    return any("A" <= letter <= "Z" for letter in piece)
