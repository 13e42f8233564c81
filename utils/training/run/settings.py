"""The settings of a run, and what changes when it is resumed with others."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.files import file_sha256
from config.run_folder import OF_EACH_MACHINE
from config.schema import Config
from data.loading.pipeline import Words
from data.preparation.leakage import left_out_splits
from utils.prediction.expressions import words_contents
from utils.training.distributed.cluster import ClusterError
from utils.training.distributed.processes import Processes

# Files whose contents, not their paths, decide whether a run is the same: see `files_of_run`.
FILES = ("train_set", "evaluate_set", "anchors_file")
CONTENTS = (*FILES, "word_embed", "bert_path")
ARCHITECTURE = (
    "backbone", "backbone_width", "backbone_blocks", "head_width", "aspp_dilations",
    "seg_out_stride", "text_encoder", "embed_dim", "rnn_cell", "rnn_hidden_size",
    "bidirectional", "lang_att", "jemb_dim",
)  # fmt: skip
# Scores, or the steps of a run, cannot be compared across changes of these.
FIXED = (*ARCHITECTURE, "input_size", "word_len", "det_acc_thresh", "seed", "train_weights")
# What the accuracy of the same weights depends on; of the files, the contents count.
MEASURED_WITH = (*ARCHITECTURE, "input_size", "word_len", "det_acc_thresh", "best_of")
READ_BY_NETWORK = ("anchors_file", "word_embed", "bert_path")
MEASURED_ON = ("evaluate_set", *READ_BY_NETWORK)


@dataclass
class Changes:
    """The settings in which a run and its resumption differ, as "lr: 0.001 → 0.0005".

    Attributes:
        refused: those that make it another run.
        printed: the others.
    """

    refused: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)


def run_settings(config: Config, words: Words) -> dict[str, Any]:
    """Returns the settings of a run, with a checksum for each key of `CONTENTS` under "contents".

    Of the two sources of words, only the one that the text encoder reads is there, see
    `utils.prediction.expressions.words_contents`.

    Args:
        config: the settings.
        words: what encodes the expressions of the run.

    Raises:
        OSError: one of the files cannot be read.
        ConfigError: the BERT folder cannot be used.
    """
    contents = {key: _checksum(files) for key, files in files_of_run(config).items()}
    return {**config.to_dict(), "contents": contents | words_contents(config, words)}


def files_of_run(config: Config) -> dict[str, list[str]]:
    """The files behind each key of `FILES`, those that decide what is left out of training, too."""
    return {
        "train_set": [*config.train_sets, *left_out_splits(config)],
        "evaluate_set": config.evaluate_sets,
        "anchors_file": [config.anchors_file],
    }


def _checksum(files: Sequence[str]) -> str:
    """The checksum of a file, or of those of several."""
    first, *others = map(file_sha256, files)
    return hashlib.sha256(" ".join([first, *others]).encode()).hexdigest() if others else first


def compare_settings(saved: Mapping[str, Any], current: Mapping[str, Any]) -> Changes:
    """Compares the settings of a state with those of the run that resumes from it.

    Args:
        saved, current: of `run_settings`. Keys that only one of them has are left out, since
            versions of the project differ in them.
    """
    changes = Changes()
    for key in _other_contents(saved, current):
        place = current.get(key, key)
        changes.refused.append(f"{key}: the contents of {place} have changed")
    for key in current:
        if key in ("contents", "about") or key not in saved or saved[key] == current[key]:
            continue
        listed = changes.refused if key in FIXED else changes.printed
        listed.append(f"{key}: {saved[key]} → {current[key]}")
    return changes


def check_same_settings(processes: Processes, settings: Mapping[str, Any]) -> None:
    """Checks that all processes of a run have the same settings.

    Paths may differ, and numbers that only concern the loading of files.

    Args:
        processes: the processes of the run.
        settings: of `run_settings`, in this process.

    Raises:
        ClusterError: one of them has others, in every process.
    """
    compared = {key: value for key, value in settings.items() if key not in OF_EACH_MACHINE}
    for index, theirs in enumerate(gathered := processes.gather(compared)):
        changes = compare_settings(gathered[0], theirs)
        if differing := [*changes.refused, *changes.printed]:
            raise ClusterError(
                f"process {index} has other settings than process 0 ({'; '.join(differing)}); "
                "start all processes with the same settings and files"
            )


def optimizer_changes(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Returns the changes due to which the optimizer has other variables, as "free_body: 1 → 2".

    Args:
        saved, current: of `run_settings`.
    """
    keys = ["free_body"]
    if current.get("text_encoder") == "bert" and current.get("free_body") != 2:
        keys.append("bert_trainable")
    if "mixed_float16" in (saved.get("precision"), current.get("precision")):
        keys.append("precision")  # Only this one scales the loss.
    changed = [key for key in keys if key in saved and saved[key] != current.get(key)]
    if bool(saved.get("ema")) != bool(current.get("ema")):
        changed.append("ema")
    return [f"{key}: {saved.get(key, 0)} → {current.get(key, 0)}" for key in changed]


def score_changes(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Returns the settings in which the scores of two runs differ, so that they do not compare.

    Args:
        saved, current: of `run_settings`.
    """
    settings = [key for key in MEASURED_WITH if key in saved and saved[key] != current[key]]
    files = [key for key in _other_contents(saved, current) if key in MEASURED_ON]
    return [*files, *settings]


def _other_contents(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The keys of `CONTENTS` whose contents differ.

    Earlier versions did not record those of the words: they count as the same.
    """
    theirs, ours = saved["contents"], current["contents"]
    differing = [key for key in CONTENTS if key in theirs and key in ours]
    differing = [key for key in differing if theirs[key] != ours[key]]
    other_vocabulary = not {"train_set", "evaluate_set"}.isdisjoint(differing)
    # Mirrored expressions are read, too.
    other_vocabulary |= bool(saved.get("flip")) != bool(current.get("flip"))
    if other_vocabulary and saved.get("word_embed") == current.get("word_embed"):
        # It has other vectors in any case: only the name tells whether the source is another one.
        return [key for key in differing if key != "word_embed"]
    return differing


def first_step(
    saved: Mapping[str, Any], current: Mapping[str, Any], step: int, samples: int
) -> int:
    """Converts a position within an epoch to another batch size.

    Args:
        saved, current: of `run_settings`.
        step: steps done with the saved settings.
        samples: samples per epoch.

    Returns:
        Steps of the current batch size that cover no sample which has not been seen, or the steps
        of the whole epoch if it was complete.
    """
    seen = step * saved.get("batch_size", current["batch_size"])
    size = current["batch_size"]
    return math.ceil(samples / size) if seen >= samples else seen // size
