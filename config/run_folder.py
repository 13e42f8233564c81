"""What a training leaves in its folder, and a config that starts from such a run.

`pretrained_weights` may name the folder of a run: the config then takes the settings of the network
from the run, unless it sets them itself. `config.schema.load_config` calls `start_of` for this.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.json_text import check_regular

SETTINGS_FILE = "config.json"
BEST_WEIGHTS = "best.weights.h5"
# Beside them: those with the best masks, and the best averages (config keys best_seg and ema).
BEST_SEG, BEST_EMA = "best_seg.weights.h5", "best_ema.weights.h5"
# The settings that must be those of the training.
ARCHITECTURE = (
    "backbone", "backbone_width", "backbone_blocks", "head_width", "aspp_dilations",
    "text_encoder", "rnn_cell", "rnn_hidden_size", "bidirectional", "lang_att", "embed_dim",
)  # fmt: skip
TRAINED_WITH = (*ARCHITECTURE, "input_size", "word_len", "anchors_file", "word_embed", "bert_path")
# What else describes a network, and may change when its training continues.
NETWORK = (
    *TRAINED_WITH, "seg_out_stride", "mask_target", "bn_momentum", "rnn_drop_out", "jemb_dim",
    "bert_trainable",
)  # fmt: skip
# Where files are, and how they are loaded: this may differ between the machines of a run.
OF_EACH_MACHINE = (
    "train_set", "also_train", "evaluate_set", "also_evaluate", "anchors_file", "image_path",
    "seg_gt_path", "word_embed", "bert_path", "pretrained_weights", "evaluate_model", "log_path",
    "cache_dir", "workers", "max_queue_size",
)  # fmt: skip
ONLY_VECTORS = (
    "rnn_cell", "rnn_hidden_size", "bidirectional", "lang_att", "embed_dim", "word_embed",
    "rnn_drop_out",
)  # fmt: skip
ONLY_BERT = ("bert_path", "bert_trainable")

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Start:
    """What a config takes from the run that it starts from.

    Attributes:
        changes: settings to replace, `pretrained_weights` among them.
        messages: lines for people about them.
    """

    changes: dict[str, Any]
    messages: tuple[str, ...]


def files_of_run(run: str | os.PathLike) -> tuple[Path, Path | None]:
    """Finds the settings and the weights of a run.

    Args:
        run: its folder, its config.json or a weight file in it.

    Returns:
        The settings file, and the weight file if `run` is one, else None: see `weights_of_run`.

    Raises:
        ConfigError: there is no settings file.
    """
    path = Path(run)
    if path.is_dir():
        settings, weights = path / SETTINGS_FILE, None
    elif path.suffix == ".json":
        settings, weights = path, None
    else:
        settings, weights = path.parent / SETTINGS_FILE, path
    if weights is not None and not weights.is_file():
        raise ConfigError(f"{run}: no such run; name its folder, config.json or weight file")
    if not settings.is_file():
        raise ConfigError(
            f"{run}: is no run, since there is no {settings}; name a folder that train.py wrote"
        )
    return settings, weights


def weights_of_run(settings_file: Path, settings: Settings) -> Path:
    """The weights that a run has left beside its settings: best.weights.h5, or evaluate_model."""
    best, named = settings_file.parent / BEST_WEIGHTS, Path(settings["evaluate_model"])
    if not best.exists() and named.parent == Path(os.path.realpath(settings_file.parent)):
        return named
    return best


def network_keys(settings: Settings) -> list[str]:
    """The keys of `NETWORK` that count for the text encoder of the settings."""
    unused = ONLY_VECTORS if settings["text_encoder"] == "bert" else ONLY_BERT
    return [key for key in NETWORK if key not in unused]


def differing_keys(
    ours: Settings, theirs: Settings, same_anchors: Callable[[str, str], bool]
) -> list[str]:
    """The settings of `TRAINED_WITH` in which a config and a training differ.

    Of word vectors and a BERT, only the names are compared, since the project may have moved.

    Args:
        ours: settings of the config.
        theirs: those of the training.
        same_anchors: compares two files of anchors.
    """
    used = {*network_keys(ours), *network_keys(theirs)}

    def differ(key: str) -> bool:
        mine, other = ours[key], theirs[key]
        if mine == other:
            return False
        if key == "anchors_file":
            return not same_anchors(mine, other)
        if key in ("word_embed", "bert_path"):
            return Path(mine).name != Path(other).name
        return True

    return [key for key in TRAINED_WITH if key in used and differ(key)]


def differences_text(ours: Settings, theirs: Settings, keys: Collection[str]) -> str:
    """Settings with both values: "input_size 416 instead of 128; …"."""
    return "; ".join(f"{key} {ours[key]} instead of {theirs[key]}" for key in keys)


def start_of(
    settings: Settings, given: Collection[str], read: Callable[[Path], Settings]
) -> Start | None:
    """Finds out what a config takes from the run whose folder is its `pretrained_weights`.

    If the folder no longer exists, a run that has started from it knows its settings.

    Args:
        settings: all settings, with absolute paths.
        given: the keys that the user has set; all others have their defaults.
        read: reads a settings file completely.

    Returns:
        None if `pretrained_weights` is not the folder of a run.

    Raises:
        ConfigError: the folder is not that of a run, or `given` settings contradict its network.
    """
    value = settings["pretrained_weights"]
    folder = Path(os.path.realpath(value))
    # Without a slash it may be a registered name, and a folder of this name something else.
    is_run = "/" in value or (value and (folder / SETTINGS_FILE).is_file())
    if is_run and folder.is_dir():
        file, _ = files_of_run(folder)
        theirs = read(file)
        weights = weights_of_run(file, theirs)
    elif is_run and not folder.exists():
        file = Path(settings["log_path"]) / SETTINGS_FILE
        try:
            theirs = read(file)
        except ConfigError:
            return None
        weights = Path(theirs["pretrained_weights"])
        if weights.parent != folder:
            return None
    else:
        return None
    adopted = {key: theirs[key] for key in network_keys(theirs) if key not in given}
    contradicting = differing_keys({**settings, **adopted}, theirs, _same_anchors)
    if refused := [key for key in contradicting if key in ARCHITECTURE]:
        raise ConfigError(
            f"pretrained_weights = {folder}: is a run of another network: "
            f"{differences_text(settings, theirs, refused)}; omit these settings, or set:\n"
            f"  --set {as_overrides(theirs, refused)}"
        )
    messages = [f"start: {weights}"]
    if changed := [key for key in adopted if adopted[key] != settings[key]]:
        messages.append(f"settings of {file}: {as_overrides(theirs, changed)}")
    if contradicting:
        text = differences_text(settings, theirs, contradicting)
        messages.append(f"warning: settings other than those of {file}: {text}")
    return Start({**adopted, "pretrained_weights": str(weights)}, tuple(messages))


def as_overrides(settings: Settings, keys: Collection[str]) -> str:
    """Settings as arguments of --set: "backbone_blocks=[1,1,2,2,1] rnn_cell=gru"."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

    return " ".join(f"{key}={text(settings[key])}" for key in keys)


def _same_anchors(first: str, second: str) -> bool:
    """Whether two files contain the same numbers."""
    try:
        for path in (first, second):
            check_regular(path)
        texts = [Path(path).read_text(encoding="utf-8") for path in (first, second)]
        numbers = [[float(n) for n in re.split(r"[,\s]+", text.strip())] for text in texts]
    except (OSError, ValueError, ConfigError):
        return False
    return numbers[0] == numbers[1]
