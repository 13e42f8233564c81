"""The folder that `bert_path` names: what kind of BERT checkpoint it holds, and its settings.

Two kinds are read: the files as Google published them (`bert_config.json`, `vocab.txt`,
`bert_model.ckpt.*`) and a preset written by keras-hub (`config.json`, `tokenizer.json`, …). The
network and the expressions both depend on it, so it is described here once.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from config.schema import ConfigError

# Files of each kind, in the order: settings, vocabulary, the rest.
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

# Word pieces that an encoded expression is made with; padding is id 0.
PADDING = "[PAD]"
SPECIAL_PIECES = (PADDING, "[UNK]", "[CLS]", "[SEP]", "[MASK]")

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
    """A BERT checkpoint on disk, its weights not opened.

    Attributes:
        path: the folder.
        original: whether these are Google's files, else a keras-hub preset.
        architecture: arguments of `keras_hub.models.BertBackbone`: vocabulary_size, num_layers,
            num_heads, hidden_dim, intermediate_dim, max_sequence_length, num_segments, dropout.
        vocabulary: word pieces by id; the first is [PAD].
        lowercase: whether expressions are lower-cased and, with the original files, lose their
            accents. A preset's own tokenizer.json decides in its place.
    """

    path: Path
    original: bool
    architecture: dict
    vocabulary: tuple[str, ...]
    lowercase: bool

    @property
    def checkpoint(self):
        """Prefix of the original checkpoint's files, or the preset's weight file."""
        return self.path / ("bert_model.ckpt" if self.original else PRESET_FILES[3])


def read_bert_folder(path, weights=False):
    """Describes a folder with a BERT checkpoint.

    The original files do not say whether a BERT is uncased. A boolean "do_lower_case" in
    bert_config.json decides; without it, a BERT is uncased when no piece of its vocabulary has a
    capital letter A–Z, special pieces such as [CLS] aside.

    Args:
        path: the folder, config key bert_path.
        weights: whether the files of the weights must be there as well.

    Returns:
        BertFolder.

    Raises:
        ConfigError: files are missing, damaged, or do not belong together; the message lists what
            is needed.
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
        lowercase = settings.get("do_lower_case", not any(map(_has_capital, vocabulary)))
    else:
        lowercase = _preset_lowercase(path / PRESET_FILES[2])
    return BertFolder(path, original, architecture, vocabulary, bool(lowercase))


def import_keras_hub():
    """The keras_hub package.

    Raises:
        ConfigError: it is not installed; it is needed for use_bert alone.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ConfigError(
            f"use_bert = 1 needs keras-hub ({error}): pip install -r requirements-bert.txt"
        ) from None
    return keras_hub


def _what_is_missing(path, missing):
    if not path.is_dir():
        found = "is a file, must be a folder" if path.exists() else "no such folder"
    else:
        found = f"lacks {', '.join(missing)}"
    return (
        f"bert_path = {path}: {found}. It must hold Google's files ({', '.join(ORIGINAL_FILES)}) "
        f"or a keras-hub preset ({', '.join(PRESET_FILES)}); data/README.md says where to get them"
    )


def _read_json(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {type(content).__name__}, must be a JSON object")
    return content


def _original_architecture(settings, path):
    if settings.get("hidden_act", "gelu") != "gelu":
        raise ConfigError(f"{path}: hidden_act = {settings['hidden_act']!r}: BERT has gelu")
    rates = [settings.get(f"{name}_dropout_prob", 0.1) for name in ("hidden", "attention_probs")]
    if rates[0] != rates[1]:
        raise ConfigError(
            f"{path}: hidden_dropout_prob {rates[0]} and attention_probs_dropout_prob {rates[1]} "
            "differ, keras-hub's BERT has one rate: write the one to train with in both places"
        )
    defaults = {"hidden_dropout_prob": 0.1}
    return _checked_architecture({**defaults, **settings}, ARGUMENT_OF, path)


def _preset_architecture(settings, path):
    if settings.get("class_name") != "BertBackbone":
        found = settings.get("class_name") or settings.get("model_type", "something else")
        raise ConfigError(
            f"{path}: describes {found!r}, not a BertBackbone of keras-hub. A BERT in another "
            "format must be converted first: data/README.md says how"
        )
    arguments = {argument: argument for argument in ARGUMENT_OF.values()}
    return _checked_architecture(settings.get("config", {}), arguments, path)


def _checked_architecture(settings, arguments, path):
    """Settings under the names of BertBackbone's arguments, each of the right type."""
    architecture = {}
    for key, argument in arguments.items():
        value = settings.get(key)
        if argument == "dropout":
            fits, expected = type(value) in (int, float) and 0 <= value < 1, "a number in 0..1"
        else:
            fits, expected = type(value) is int and value > 0, "a whole number above 0"
        if not fits:
            found = f"is {value!r}" if key in settings else "is missing"
            raise ConfigError(f"{path}: {key} {found}, must be {expected}")
        architecture[argument] = value
    if architecture["hidden_dim"] % architecture["num_heads"]:
        raise ConfigError(
            f"{path}: width {architecture['hidden_dim']} is no multiple of "
            f"{architecture['num_heads']} attention heads"
        )
    return architecture


def _preset_lowercase(path):
    settings = _read_json(path)
    if settings.get("class_name") != "BertTokenizer":
        raise ConfigError(
            f"{path}: describes {settings.get('class_name')!r}, must be a BertTokenizer"
        )
    return settings.get("config", {}).get("lowercase", False)


def _read_vocabulary(path, size, settings_name):
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error}); fetch it again") from None
    vocabulary = tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
    absent = [piece for piece in SPECIAL_PIECES if piece not in vocabulary]
    if absent:
        raise ConfigError(f"{path}: lacks {', '.join(absent)}: not the vocabulary of a BERT")
    if vocabulary[0] != PADDING:
        raise ConfigError(f"{path}: line 1 is {vocabulary[0]!r}, must be {PADDING}")
    if len(vocabulary) != size:
        raise ConfigError(
            f"{path}: holds {len(vocabulary)} word pieces, {settings_name} beside it says {size}; "
            "the files are of different checkpoints"
        )
    return vocabulary


def _has_capital(piece):
    if piece.startswith("[") and piece.endswith("]"):
        return False
    return any("A" <= letter <= "Z" for letter in piece)
