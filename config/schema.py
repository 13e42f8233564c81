"""The settings of a run: every key with its type, default and meaning, read from JSON.

`load_config` reads a JSON file over the defaults below, applies `key=value` overrides and returns
a frozen `Config`. An unknown key, a value of the wrong type or an impossible combination raises a
`ConfigError` that names the key, the value and what is allowed.

Relative paths in a JSON file are relative to the project's root, so that a run does not depend
on the directory it was started from; paths given as `key=value` are relative to the current
directory, like every path on a command line.
"""

import dataclasses
import os
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.json_text import read_settings
from config.run_folder import start_of
from config.setting import (
    canonical_keys,
    check_combination,
    converted,
    parse_override,
    refuse_unknown,
    setting,
)

PROJECT_ROOT = Path(__file__).resolve().parent.parent

ENGINES = ["tensorflow", "onnxruntime", "openvino"]

# Keys of the published configurations that no longer mean anything, with the reason.
OBSOLETE_KEYS = {
    "crf": "was never read by the published implementation",
    "jemb_drop_out": "was never read by the published implementation",
    "iou_thresh": "is replaced by det_acc_thresh",
}


@dataclass(frozen=True)
class Config:
    """All settings of a run. Defaults: RefCOCO with the Darknet-53 backbone, as published."""

    about: list[str] = setting([], "notes for the reader: expected results, hardware, commands")

    # Data.
    train_set: str = setting(
        "data/anns/refcoco/train.txt",
        "annotations to train on, or a list of several sets, see docs/several_sets.md",
        path=True,
    )
    also_train: list[str] = setting([], "the other sets of the list `train_set`", path=True)
    train_weights: list[float] = setting(
        [],
        "how often an epoch contains each training set; empty: once each",
        low=0.001,
        high=1000,
    )
    leave_out_eval_images: int = setting(
        -1,
        "leave out referents whose image is in an evaluation split: 1 yes, 0 no, -1 if there are "
        "several training sets",
        choices=[-1, 0, 1],
    )
    evaluate_set: str = setting(
        "data/anns/refcoco/val.txt",
        "annotations to evaluate on, after each epoch and in test.py, or a list of several sets",
        path=True,
    )
    also_evaluate: list[str] = setting([], "the other sets of the list `evaluate_set`", path=True)
    best_of: str = setting(
        "first",
        "which accuracy makes weights the best, if there are several evaluation sets: that of the "
        "first one, or the mean",
        choices=["first", "mean"],
    )
    seg_gt_path: str = setting(
        "data/masks/refcoco",
        "folder of the ground-truth masks: `masks.jsonl`, or `<id>.npy` of earlier preparations; "
        "those of other data sets are in the folder of their name beside it",
        path=True,
    )
    image_path: str = setting(
        "data/images/train2014", "folder of the images, of all sets", path=True
    )
    anchors_file: str = setting(
        "data/yolo_anchors.txt", "file of three anchors `w,h` in pixels of the input", path=True
    )
    word_embed: str = setting(
        "data/words/glove.6B.300d.txt",
        "word vectors: a GloVe file (.txt, .gz, .zip), a spaCy package or a saved spaCy pipeline",
        path=True,
        or_name=True,
    )
    on_bad_sample: str = setting(
        "error",
        "what an unreadable image or mask does: error stops, skip counts and lists the sample",
        choices=["error", "skip"],
    )
    workers: int = setting(8, "threads that load and preprocess images", low=1, high=256)
    max_queue_size: int = setting(4, "batches to prefetch", low=1, high=1000)

    # Network.
    backbone: str = setting("darknet", "name of a registered backbone, such as darknet or vgg")
    backbone_width: float = setting(
        1.0,
        "factor on the channels of the backbone; less than 1 for small machines",
        low=0.03125,
        high=4.0,
    )
    backbone_blocks: list[int] = setting(
        [1, 2, 8, 8, 4], "residual blocks of the five stages of Darknet-53", low=1, high=64
    )
    head_width: float = setting(
        1.0,
        "factor on the channels of the segmentation and detection branches",
        low=0.03125,
        high=4.0,
    )
    aspp_dilations: list[int] = setting(
        [6, 12, 18], "dilation rates of the ASPP block", low=1, high=64
    )
    bn_momentum: float = setting(
        0.99, "momentum of the moving averages of BatchNorm", low=0, high=1
    )
    input_size: int = setting(
        416, "side of the letterboxed input in pixels, a multiple of 32", low=32, high=4096
    )
    seg_out_stride: int = setting(8, "stride of the predicted mask", choices=[8])
    mask_target: str = setting(
        "corner",
        "value of a cell of the ground-truth mask: its top-left pixel (corner, as published) or "
        "the share of the cell that the object covers (area)",
        choices=["corner", "area"],
    )
    text_encoder: str = setting(
        "recurrent",
        "name of a registered text encoder: recurrent (word vectors and an RNN) or bert; the "
        "published key `use_bert` (0 or 1) is accepted as well",
    )
    word_len: int = setting(
        15,
        "words per expression, or word pieces with BERT; longer ones are truncated",
        low=1,
        high=512,
    )
    embed_dim: int = setting(300, "dimension of the word vectors", low=1, high=4096)
    rnn_cell: str = setting(
        "lstm", "recurrent cell; the published checkpoints hold gru", choices=["lstm", "gru"]
    )
    bidirectional: int = setting(1, "read the expression in both directions", choices=[0, 1])
    rnn_hidden_size: int = setting(
        1024, "units of the recurrent cell, an even number", low=2, high=16384
    )
    rnn_drop_out: float = setting(
        0.1,
        "dropout on the inputs of the recurrent cell, with one mask per gate, and on the scores of "
        "the attention over words",
        low=0,
        high=0.999,
    )
    lang_att: int = setting(
        1, "attention over the words; 0 takes the last output of the RNN", choices=[0, 1]
    )
    bert_path: str = setting("data/weights/bert", "folder of the BERT checkpoint", path=True)
    bert_trainable: int = setting(0, "fine-tune BERT", choices=[0, 1])
    jemb_dim: int = setting(
        0,
        "channels of the fused features; 0 uses those of Fv1, which any other value must equal",
        low=0,
        high=65536,
    )

    # Training.
    pretrained_weights: str = setting(
        "data/weights/darknet.h5",
        "weights to start from: a file with a backbone or a whole network; the folder of a run, "
        "whose best weights and settings of the network are then used; or a registered name such "
        "as imagenet; empty trains from scratch",
        path=True,
        or_name=True,
        or_empty=True,
    )
    free_body: int = setting(
        1,
        "frozen layers: 0 none, 1 the backbone except its last layers, 2 all but the output layers",
        choices=[0, 1, 2],
    )
    frozen_bn: str = setting(
        "moving",
        "statistics that frozen BatchNorm layers use in training: moving averages, or those of "
        "the batch as in Keras 2.2.4",
        choices=["moving", "batch"],
    )
    batch_size: int = setting(35, "expressions per step, over all replicas", low=1, high=65536)
    last_batch: str = setting(
        "wrap",
        "an incomplete last batch of an epoch: wrap fills it with the first samples of the epoch, "
        "as published, short leaves it smaller (on one device only), drop leaves it out",
        choices=["wrap", "short", "drop"],
    )
    accumulate_steps: int = setting(
        1,
        "parts in which a step computes its batch, one after the other, so that the memory of a "
        "device need only hold one of them; BatchNorm sees each part by itself",
        low=1,
        high=1024,
    )
    flip: float = setting(
        0.0,
        "probability that a training sample is mirrored and left and right are exchanged in its "
        "expression; ambiguous expressions are not mirrored",
        low=0,
        high=1,
    )
    scale_jitter: float = setting(
        0.0,
        "J to enlarge training images by a random factor between 1 - J and 1 + J, around a window "
        "that contains the referent",
        low=0,
        high=0.5,
    )
    color_jitter: float = setting(
        0.0,
        "J to change brightness, contrast and saturation of training images by random factors "
        "between 1 - J and 1 + J",
        low=0,
        high=0.5,
    )
    lr: float = setting(1e-3, "initial learning rate of Adam", low=0, high=10.0)
    lr_schedule: str = setting(
        "steps",
        "steps divides the learning rate by 10 at each epoch of `steps`; cosine decays it to 0",
        choices=["steps", "cosine"],
    )
    warmup_steps: int = setting(0, "optimizer steps of linear warm-up", low=0, high=1e9)
    steps: list[int] = setting(
        [30, 35, 40],
        "epochs, counted from 1, at whose start the learning rate is divided by 10",
        low=1,
        high=1e6,
    )
    epoches: int = setting(
        45, "number of epochs; the spelling `epochs` is accepted as well", low=1, high=1e6
    )
    start_epoch: int = setting(
        0, "epochs to count as done when there is no checkpoint to resume from", low=0, high=1e6
    )
    cache_features: int = setting(
        0, "compute the features of the frozen layers once and read them from disk", choices=[0, 1]
    )
    cache_dir: str = setting(
        "",
        "folder of the cached features; empty: `features` in log_path",
        path=True,
        or_empty=True,
    )
    cache_dtype: str = setting(
        "float32",
        "type of the cached features: float32 is exact, float16 needs half the space",
        choices=["float32", "float16"],
    )
    seg_loss_weight: float = setting(
        0.1, "weight of the mask loss; 0 trains no masks", low=0, high=1e6
    )
    det_loss_weight: float = setting(
        1.0,
        "weight of the losses of the box and its confidence; 0 trains no boxes",
        low=0,
        high=1e6,
    )
    cem_loss_weight: float = setting(
        1.0, "weight of Consistency Energy Maximization; 0 turns it off", low=0, high=1e6
    )
    weight_decay: float = setting(5e-4, "L2 factor on the kernels of convolutions", low=0, high=1e3)
    clip_norm: float = setting(
        0.0, "global norm to which gradients are clipped; 0 disables clipping", low=0, high=1e9
    )
    ema: float = setting(
        0.0,
        "decay per step of an exponential moving average of the weights, such as 0.999; it is "
        "evaluated, too, and its best state saved as best_ema.weights.h5; 0 disables it",
        low=0,
        high=0.999999,
    )
    seed: int = setting(
        10010,
        "seed of the initial weights, the order of the samples, the choice of expressions, dropout "
        "and augmentation",
        low=0,
        high=2**32 - 1,
    )
    skip_nonfinite: int = setting(
        0,
        "training steps per run whose loss or gradients may be NaN or infinite; such a step is "
        "skipped, one more stops the training",
        low=0,
        high=1e9,
    )
    precision: str = setting(
        "float32",
        "dtype policy of the network",
        choices=["float32", "mixed_float16", "mixed_bfloat16"],
    )
    engine: str = setting(
        "tensorflow",
        "what runs the network in test.py, predict.py and its page, see docs/engines.md",
        choices=ENGINES,
    )
    jit_compile: int = setting(0, "compile the network with XLA", choices=[0, 1])
    distribute: str = setting(
        "one",
        "devices to train on: one, all GPUs of this machine (mirrored), or those of several "
        "processes, here or on several machines (multiworker); see docs/distributed.md",
        choices=["one", "mirrored", "multiworker"],
    )
    worker_timeout_s: float = setting(
        120.0,
        "seconds to wait at the start for the other processes of distribute=multiworker",
        low=1,
        high=1e6,
    )
    deterministic: int = setting(
        0,
        "use only operations that give the same bits in every run, which may be slower on GPUs",
        choices=[0, 1],
    )

    # Evaluation.
    evaluate_model: str = setting(
        "log/refcoco/best.weights.h5", "weights that test.py evaluates", path=True
    )
    eval_batch_size: int = setting(
        8, "images to encode, and expressions to ground, per batch", low=1, high=65536
    )
    det_acc_thresh: float = setting(
        0.5, "IoU above which a predicted box counts as correct", low=0, high=1
    )
    segment_thresh: float = setting(
        0.35, "probability above which a pixel belongs to the mask", low=0, high=1
    )
    use_nls: int = setting(
        1, "ASNLS: weight the mask by the predicted box and its confidence", choices=[0, 1]
    )

    # Logs.
    log_path: str = setting("log/refcoco", "folder of checkpoints, curves and logs", path=True)
    save_every_minutes: float = setting(
        10.0,
        "minutes between two states saved within an epoch; 0 saves at the end of epochs only",
        low=0,
        high=1e6,
    )
    best_seg: int = setting(
        0,
        "save the weights with the highest mean IoU of the masks, too, as best_seg.weights.h5",
        choices=[0, 1],
    )
    log_images: int = setting(
        2, "best, median and worst predictions to draw in TensorBoard per epoch, of each",
        low=0, high=1000,
    )  # fmt: skip

    @property
    def text_input(self) -> str:
        """What the text encoder reads: "vectors" of words, or word "pieces" of BERT."""
        return "pieces" if self.text_encoder == "bert" else "vectors"

    @property
    def train_sets(self) -> list[str]:
        """The annotation files to train on."""
        return [self.train_set, *self.also_train]

    @property
    def evaluate_sets(self) -> list[str]:
        """The annotation files to evaluate on."""
        return [self.evaluate_set, *self.also_evaluate]

    def mask_folder(self, set_path: str) -> str:
        """The folder of the masks of one of the sets: that of its data set beside `seg_gt_path`."""
        folder = Path(set_path).parent
        if folder in (Path(self.train_set).parent, Path(self.evaluate_set).parent):
            return self.seg_gt_path
        return str(Path(self.seg_gt_path).with_name(folder.name))

    def each_evaluation(self) -> list["Config"]:
        """The config of each evaluation set, which is then its only one."""
        return [
            self.replace(evaluate_set=path, seg_gt_path=self.mask_folder(path))
            for path in self.evaluate_sets
        ]

    def replace(self, **changes: Any) -> "Config":
        """Returns a copy with `changes`, checked like those of a file.

        Raises:
            ConfigError: a key or value cannot be used.
        """
        return _changed(self, changes, "replace()")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values by key, which `load_config` can read back from JSON."""
        return dataclasses.asdict(self)


FIELDS = {f.name: f for f in dataclasses.fields(Config)}
TYPES = typing.get_type_hints(Config)


def load_config(
    path: str | os.PathLike,
    overrides: Sequence[str] = (),
    report: Callable[[str], object] | None = None,
) -> Config:
    """Reads the settings of a run.

    If `pretrained_weights` is the folder of a run, it is replaced by the weights in it, and
    settings of the network that neither file nor overrides contain are those of that run.

    Args:
        path: JSON file with any of the keys of `Config`; omitted keys keep their defaults.
        overrides: strings "key=value", applied last: text for keys that are text, else JSON.
        report: called with lines about the settings taken from a run.

    Returns:
        A frozen `Config` whose paths are absolute.

    Raises:
        ConfigError: the file is missing or no JSON object, or a key or value cannot be used; see
            `config.json_text.parse_json` for what counts as JSON.
    """
    config, given = _read(path, overrides)
    start = start_of(vars(config), given, lambda file: vars(_read(file)[0]))
    if start is None:
        return config
    if report is not None:
        for message in start.messages:
            report(message)
    return dataclasses.replace(config, **start.changes)


def _read(path: str | os.PathLike, overrides: Sequence[str] = ()) -> tuple[Config, set[str]]:
    """The settings of a file with overrides, and the keys that these two contain."""
    values = read_settings(path)
    for key in [key for key in values if key in OBSOLETE_KEYS]:
        warnings.warn(f"{path}: key '{key}' is ignored: it {OBSOLETE_KEYS[key]}", stacklevel=3)
        del values[key]
    config = _changed(Config(), values, str(path), combine=False)
    changes = dict(parse_override(text, TYPES) for text in overrides)
    config = _changed(config, changes, "--set", relative_to=Path.cwd())
    given = {*canonical_keys(values, str(path)), *canonical_keys(changes, "--set")}
    return _with_absolute_paths(config, PROJECT_ROOT), given


def _changed(
    config: Config,
    values: Mapping[str, Any],
    source: str,
    combine: bool = True,
    relative_to: Path | None = None,
) -> Config:
    """A copy of `config` with checked values; `source` names their origin in error messages."""
    values = canonical_keys(values, source)
    refuse_unknown(values, FIELDS, source)
    typed = {
        key: converted(FIELDS[key], TYPES[key], value, source) for key, value in values.items()
    }
    config = dataclasses.replace(config, **typed)
    if relative_to is not None:
        config = _with_absolute_paths(config, relative_to, only=typed)
    if combine:
        check_combination(vars(config))
    return config


def _with_absolute_paths(
    config: Config, base: Path, only: Mapping[str, Any] | None = None
) -> Config:
    """A copy whose paths, or `only` those of some keys, are absolute."""
    changes: dict[str, Any] = {}
    for key, spec in FIELDS.items():
        value = getattr(config, key)
        if not spec.metadata["path"] or not value or (only is not None and key not in only):
            continue
        if spec.metadata["or_name"] and "/" not in value and "." not in value:
            continue
        paths = [
            os.path.realpath(base / os.path.expanduser(path))
            for path in (value if isinstance(value, list) else [value])
        ]
        changes[key] = paths if isinstance(value, list) else paths[0]
    return dataclasses.replace(config, **changes)
