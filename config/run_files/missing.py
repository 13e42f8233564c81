"""Which files that a run needs are missing, each with the command that fetches or makes it."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from config.errors import UserError
from config.run_files.commands import command_for
from config.schema import PROJECT_ROOT, Config

# Config keys of the files and folders that a task needs, besides those of the text encoder.
TRAINING = (
    "train_set", "evaluate_set", "seg_gt_path", "image_path", "anchors_file", "pretrained_weights",
)  # fmt: skip
EVALUATION = ("evaluate_model", "evaluate_set", "seg_gt_path", "image_path", "anchors_file")
# What to do about a missing file that no command makes.
REMEDIES = {
    "train_set": "data/README.md says how to prepare or import a set",
    "evaluate_set": "data/README.md says how to prepare or import a set",
    "seg_gt_path": "data/README.md says how to prepare masks",
    "image_path": "set it to the folder of the images",
    "anchors_file": "data/yolo_anchors.txt holds the published ones",
    "word_embed": "data/README.md lists sources of word vectors",
    "bert_path": "data/README.md says where to get a BERT",
    "pretrained_weights": "docs/weights.md says which files can be used and where to get them; an "
    "empty value trains from scratch",
    "evaluate_model": "train.py writes it; docs/weights.md says where to get trained weights",
}


@dataclass(frozen=True)
class MissingFile:
    """A file or folder that a run needs and that does not exist, or is empty.

    Attributes:
        key: the config key that names it.
        path: the file.
        command: what fetches or makes it; None if that is not known.
    """

    key: str
    path: Path
    command: str | None

    def __str__(self) -> str:
        what = "an empty file" if self.path.is_file() else "no such file or folder"
        remedy = f"get it with: {self.command}" if self.command else REMEDIES[self.key]
        return f"{self.key}: {_short(self.path)}: {what}; {remedy}"


def missing_files(config: Config, keys: Collection[str] = TRAINING) -> list[MissingFile]:
    """Finds the files of a run that do not exist.

    Args:
        config: the settings.
        keys: `TRAINING` or `EVALUATION`; the word vectors or the BERT are added.

    Returns:
        One entry per file, in the order of `keys`; the other sets and their masks come with the
        first ones. Names that are not files, such as "imagenet" or that of a spaCy package, are
        left out.
    """
    text = "bert_path" if config.text_input == "pieces" else "word_embed"
    found = []
    pairs = ((key, path) for key in (*keys, text) for path in _paths(config, key, keys))
    for key, value in pairs:
        is_name = key in ("pretrained_weights", "word_embed") and not {"/", "."} & set(value)
        path = Path(value)
        if is_name or path.is_dir() or (path.is_file() and path.stat().st_size):
            continue
        found.append(MissingFile(key, path, command_for(path)))
    return found


def _paths(config: Config, key: str, keys: Collection[str]) -> list[str]:
    """The files or folders of a key, those of all sets if it is one of sets."""
    if key == "train_set":
        return config.train_sets
    if key == "evaluate_set":
        return config.evaluate_sets
    if key == "seg_gt_path":
        trained = config.train_sets if "train_set" in keys else []
        return list(dict.fromkeys(map(config.mask_folder, [*trained, *config.evaluate_sets])))
    return [getattr(config, key)]


def check_no_file_missing(config: Config, keys: Collection[str] = TRAINING) -> None:
    """Raises `UserError` that lists all files of `missing_files`, if there are any."""
    refuse_missing(missing_files(config, keys))


def refuse_missing(missing: Iterable[MissingFile]) -> None:
    """Raises `UserError` that lists files, each once, if there are any."""
    lines = list(dict.fromkeys(map(str, missing)))
    if len(lines) > 1:
        lines.insert(0, f"{len(lines)} files or folders of this run are missing:")
    if lines:
        raise UserError("\n  ".join(lines))


def _short(path: str | os.PathLike) -> str:
    """Makes a path relative to the project if it is inside."""
    path = Path(path)
    return str(path.relative_to(PROJECT_ROOT) if path.is_relative_to(PROJECT_ROOT) else path)
