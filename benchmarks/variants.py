"""The variants of an ablation: which settings they change, and which of their measures count."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.run_folder import BEST_EMA, BEST_SEG, BEST_WEIGHTS

PAPER = "paper"
# Measures by their name in result.json → in tables.
MEASURES = {"det_acc": "Acc@{thresh}", "seg_iou": "mIoU", "ie_score": "IE"}
# Cached features are those of unchanged images.
_VARIED = {"cache_features": 0}


@dataclass(frozen=True)
class Variant:
    """A change of the base settings.

    Attributes:
        title: its row in the table.
        training: the settings of its training that differ from the base.
        evaluation: the settings of its evaluation that differ from those of its training.
        weights: the file that is evaluated, of those that a training leaves.
        cut_masks: whether masks are cut to the predicted box, which is hard suppression.
        measures: those that have a meaning.
    """

    title: str
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    weights: str = BEST_WEIGHTS
    cut_masks: bool = False
    measures: tuple[str, ...] = tuple(MEASURES)


VARIANTS = {
    PAPER: Variant("paper recipe"),
    "no_cem": Variant("CEM off", {"cem_loss_weight": 0.0}),
    "no_asnls": Variant("ASNLS off", evaluation={"use_nls": 0}),
    "hard_nls": Variant("hard suppression", evaluation={"use_nls": 0}, cut_masks=True),
    "rec": Variant(
        "REC only", {"seg_loss_weight": 0.0, "cem_loss_weight": 0.0}, measures=("det_acc",)
    ),
    "res": Variant(
        "RES only, ASNLS off",
        {"det_loss_weight": 0.0, "cem_loss_weight": 0.0, "use_nls": 0, "best_seg": 1},
        weights=BEST_SEG,
        measures=("seg_iou",),
    ),
    "gru": Variant("GRU", {"rnn_cell": "gru"}),
    "lstm": Variant("LSTM", {"rnn_cell": "lstm"}),
    "no_attention": Variant("language attention off", {"lang_att": 0}),
    "bfloat16": Variant("bfloat16", {"precision": "mixed_bfloat16"}),
    "ema": Variant("+ EMA", {"ema": 0.999}, weights=BEST_EMA),
    "flip": Variant("+ flip", {"flip": 0.5, **_VARIED}),
    "jitter": Variant("+ jitter", {"scale_jitter": 0.2, "color_jitter": 0.2, **_VARIED}),
}


@dataclass(frozen=True)
class Claim:
    """That a measure is better with a variant than with another one.

    Attributes:
        text: the claim.
        measure: key of `MEASURES`.
        better, worse: the variants.
        sign: 1 if larger is better, -1 if smaller is.
    """

    text: str
    measure: str
    better: str
    worse: str
    sign: int = 1


CLAIMS = (
    Claim("joint training raises the accuracy of boxes", "det_acc", PAPER, "rec"),
    Claim(
        "joint training raises the IoU of masks, both without ASNLS", "seg_iou", "no_asnls", "res"
    ),
    Claim("CEM reduces the inconsistency", "ie_score", PAPER, "no_cem", -1),
    Claim("ASNLS reduces the inconsistency", "ie_score", PAPER, "no_asnls", -1),
    Claim("ASNLS reduces it more than hard suppression", "ie_score", PAPER, "hard_nls", -1),
    Claim("ASNLS raises the IoU of masks", "seg_iou", PAPER, "no_asnls"),
)
