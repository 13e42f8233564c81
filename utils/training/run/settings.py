"""The settings of a run, and what changes when it is resumed with others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.files import file_sha256
from config.schema import Config

# Files whose contents, not their paths, decide whether a run is the same.
CONTENTS = ("train_set", "evaluate_set", "anchors_file")
ARCHITECTURE = (
    "backbone", "backbone_width", "backbone_blocks", "head_width", "aspp_dilations",
    "seg_out_stride", "text_encoder", "embed_dim", "rnn_cell", "rnn_hidden_size",
    "bidirectional", "lang_att", "jemb_dim",
)  # fmt: skip
# Scores, or the steps of a run, cannot be compared across changes of these.
FIXED = (*ARCHITECTURE, "input_size", "word_len", "det_acc_thresh", "seed")
# What the accuracy of the same weights depends on; of the files, the contents count.
MEASURED_WITH = ("input_size", "word_len", "det_acc_thresh")
MEASURED_ON = ("evaluate_set", "anchors_file")


@dataclass
class Changes:
    """The settings in which a run and its resumption differ, as "lr: 0.001 → 0.0005".

    Attributes:
        refused: those that make it another run.
        printed: the others.
    """

    refused: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)


def run_settings(config: Config) -> dict[str, Any]:
    """Returns the settings of a run, with a SHA-256 of each file of `CONTENTS` under "contents".

    Raises:
        OSError: one of the files cannot be read.
    """
    contents = {key: file_sha256(getattr(config, key)) for key in CONTENTS}
    return {**config.to_dict(), "contents": contents}


def compare_settings(saved: Mapping[str, Any], current: Mapping[str, Any]) -> Changes:
    """Compares the settings of a state with those of the run that resumes from it.

    Args:
        saved, current: of `run_settings`. Keys that only one of them has are left out, since
            versions of the project differ in them.
    """
    changes = Changes()
    for key in CONTENTS:
        if saved["contents"][key] != current["contents"][key]:
            changes.refused.append(f"{key}: the contents of {current[key]} have changed")
    for key in current:
        if key in ("contents", "about") or key not in saved or saved[key] == current[key]:
            continue
        listed = changes.refused if key in FIXED else changes.printed
        listed.append(f"{key}: {saved[key]} → {current[key]}")
    return changes


def score_changes(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Returns the settings in which the scores of two runs differ, so that they do not compare.

    Args:
        saved, current: of `run_settings`.
    """
    settings = [key for key in MEASURED_WITH if key in saved and saved[key] != current[key]]
    files = [key for key in MEASURED_ON if saved["contents"][key] != current["contents"][key]]
    return [*files, *settings]


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
