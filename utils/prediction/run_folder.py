"""The settings that belong to a weight file: those of its training, as far as they are known."""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from config.bert.folder import read_bert_folder
from config.command_line import DEFAULT_CONFIG
from config.errors import UserError
from config.files import file_sha256
from config.run_files.commands import how_to_get
from config.run_files.released import released_of
from config.run_folder import SETTINGS_FILE, differences_text, differing_keys
from config.schema import PROJECT_ROOT, Config, load_config
from data.loading.anchors import read_anchors
from data.text.sources import find_source
from model.weights.inspection import describe

# What the authors' checkpoints were trained with is no longer available; this is closest.
PUBLISHED_VECTORS = PROJECT_ROOT / "data" / "words" / "glove.840B.300d.txt"


@dataclass(frozen=True)
class WeightSettings:
    """A weight file and the settings to use it with.

    Attributes:
        weights: the file.
        config: the settings.
        warnings: sentences about settings that are not those of the training.
        identity: of the file before its settings were read, see `identity_of`.
    """

    weights: str
    config: Config
    warnings: tuple[str, ...] = ()
    identity: tuple[int, ...] | None = None

    def print_warnings(self) -> None:
        """Prints the warnings to standard error."""
        for warning in self.warnings:
            print(f"warning: {warning}", file=sys.stderr)

    def check_unchanged(self) -> None:
        """Checks, after the weights were loaded, that these are the settings of their training.

        A run that resumes with other settings writes them to the same folder before its weights.

        Raises:
            UserError: the file was replaced since its settings were read.
        """
        if self.identity not in (None, identity_of(self.weights)):
            raise UserError(
                f"{self.weights}: was replaced while it was loaded; run the same command again"
            )


def identity_of(path: str | os.PathLike) -> tuple[int, ...] | None:
    """What differs once a file was replaced or written to; None if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def check_weights_exist(weights: str | os.PathLike) -> None:
    """Raises FileNotFoundError if there is no such weight file, and UserError if it is no file."""
    if not Path(weights).exists():
        otherwise = "name another one, or train a network (`make demo` trains a small one)"
        raise FileNotFoundError(f"{weights}: no such weight file; {how_to_get(weights, otherwise)}")
    if not Path(weights).is_file():  # Opening a pipe waits for a writer.
        raise UserError(f"{weights}: not a file; name a weight file")


def settings_of_weights(
    weights: str | os.PathLike | None,
    config_file: str | os.PathLike | None = None,
    overrides: Sequence[str] = (),
) -> WeightSettings:
    """Finds the settings to use a network with.

    They are, the first of these that there is:

    1. overrides, key by key;
    2. for a checkpoint of the authors, what the file itself determines, such as `rnn_cell`;
    3. `config_file`;
    4. the config.json that training left beside the weights;
    5. for a checkpoint of the authors, the shipped config for the data set of its name, or else
       config/config.json, with the word vectors closest to those of its training.

    Args:
        weights: weight file; None for the evaluate_model of `config_file`, or of
            config/config.json.
        config_file: JSON file of settings, if the user names one.
        overrides: strings "key=value".

    Returns:
        The settings, with a warning if `config_file` or `overrides` contradict the settings of
        the training.

    Raises:
        FileNotFoundError: there is no such weight file, or its settings are not known.
        ConfigError: a settings file, a key or a value cannot be used.
        WeightsError: the settings have to come from the file, and it is no weight file.
    """
    if weights is None:
        default = PROJECT_ROOT / DEFAULT_CONFIG
        weights = load_config(config_file or default, overrides).evaluate_model
    check_weights_exist(weights)
    identity = identity_of(weights)
    beside, facts = Path(weights).parent / SETTINGS_FILE, _published_facts(weights)
    source: Path | None = beside
    if facts:
        source = _shipped_config(weights, facts["backbone"])
    elif not beside.exists():
        source = None
    changes = [f"{key}={value}" for key, value in facts.items()]
    if config_file is None:
        if source is None:
            raise FileNotFoundError(
                f"{beside}: no such file, which would hold the settings of {weights}; name a "
                "settings file with --config"
            )
        words = [f"word_embed={PUBLISHED_VECTORS}"] if facts else []
        config = load_config(source, [*words, *changes, *overrides])
    else:
        config = load_config(config_file, [*changes, *overrides])
    if source is None:
        return WeightSettings(str(weights), config, identity=identity)
    trained = load_config(source, changes)
    if facts:
        trained = trained.replace(word_embed=str(PUBLISHED_VECTORS))
    warnings = _warnings(config, trained, "the file itself" if facts else str(source))
    return WeightSettings(str(weights), config, warnings, identity)


def network_id(config: Config, weights: str | os.PathLike | None, min_score: float = 0.0) -> str:
    """Identifies what predictions follow from: a hash of the weights, all settings and their files.

    Of files, the contents count, except that word vectors, which have up to several GB, count by
    size and modification time.

    Args:
        config: the settings.
        weights: the weight file; None for config.evaluate_model.
        min_score: smallest score with which a box counts as found; 0 for none.

    Returns:
        16 hexadecimal digits.

    Raises:
        OSError: the weight file, the anchors or the word vectors do not exist or cannot be read.
        UserError: the anchors, the word vectors or the BERT folder cannot be used.
    """
    weights = config.evaluate_model if weights is None else weights
    check_weights_exist(weights)
    values = config.to_dict() | ({"min_score": min_score} if min_score else {})
    if config.text_input == "pieces":
        text: Any = read_bert_folder(config.bert_path).checksum()
    else:
        source = find_source(config.word_embed)
        text = [source.size, source.mtime_ns]
    files = [file_sha256(weights), read_anchors(config.anchors_file).tolist(), text]
    return hashlib.sha256(json.dumps([values, files], sort_keys=True).encode()).hexdigest()[:16]


def check_network_id(
    network: str, config: Config, weights: str | os.PathLike, min_score: float = 0.0
) -> None:
    """Checks that the files of a network are those of `network_id` also after they were loaded.

    Raises:
        UserError: one was replaced since, and what was loaded may be another network.
    """
    if network_id(config, weights, min_score) != network:
        raise UserError(
            f"{weights} or a file that its settings name changed while they were loaded; run the "
            "same command again"
        )


def _published_facts(weights: str | os.PathLike) -> dict[str, Any]:
    """The settings that a checkpoint of the authors determines; empty for any other file."""
    if (Path(weights).parent / SETTINGS_FILE).exists() and released_of(weights) is None:
        return {}
    description = describe(weights)
    keys = {field.name for field in fields(Config)}
    known = {key: value for key, value in description.settings.items() if key in keys}
    return known if description.published else {}


def _shipped_config(weights: str | os.PathLike, backbone: str) -> Path:
    """The shipped config for the data set that the name of a checkpoint tells."""
    released = released_of(weights)
    if released is not None:
        for path in sorted((PROJECT_ROOT / "config").glob("*.json")):
            config = load_config(path)
            described = Path(config.train_set).parent.name, config.backbone, config.backbone_width
            if described == (released.trained_on, backbone, 1.0):  # The authors' are of full width.
                return path
    return PROJECT_ROOT / DEFAULT_CONFIG


def _warnings(config: Config, trained: Config, source: str) -> tuple[str, ...]:
    """Warns about settings that are not those of the training."""
    ours, theirs = vars(config), vars(trained)
    different = differing_keys(ours, theirs, _same_anchors)
    if not different:
        return ()
    return (
        f"these settings are not those with which the network was trained, according to {source}: "
        + differences_text(ours, theirs, different),
    )


def _same_anchors(ours: str, theirs: str) -> bool:
    try:
        return bool(read_anchors(ours).tolist() == read_anchors(theirs).tolist())
    except (OSError, UserError):
        return Path(ours).name == Path(theirs).name
