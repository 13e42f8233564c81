"""The settings of a run: every key with its type, default and meaning, read from JSON.

`load_config` reads one JSON file over the defaults below, applies `key=value` overrides and
returns a frozen `Config`. A key that does not exist, a value of the wrong type or an impossible
combination is a `ConfigError` that names the key, the value and what is allowed.

Relative paths in a JSON file are relative to the project's root, so that a run does not depend
on the directory it was started from; those given as `key=value` are relative to the current
directory, like every path on a command line.
"""

import argparse
import dataclasses
import difflib
import json
import typing
import warnings
from dataclasses import dataclass, field
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent

# Keys of the published configurations that no longer mean anything, with the reason.
OBSOLETE_KEYS = {
    "crf": "was never read by the published implementation",
    "jemb_drop_out": "was never read by the published implementation",
    "iou_thresh": "is replaced by det_acc_thresh",
}


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the key, its value and what is allowed."""


def setting(default, help, *, choices=None, low=None, high=None, path=False):
    """Declares one setting.

    Args:
        default: the default value; lists are copied for each `Config`.
        help: one sentence for people who read or override the setting.
        choices: the values allowed, if they can be listed.
        low, high: inclusive bounds of a number, or of every number of a list.
        path: whether the value is a file or folder, resolved as the module says.
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high, "path": path}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """All settings of a run. Defaults: RefCOCO with the Darknet-53 backbone, as published."""

    about: list[str] = setting([], "expected result, hardware, time and command, for the reader")

    # Data.
    train_set: str = setting("data/anns/refcoco/train.txt", "annotations to train on", path=True)
    evaluate_set: str = setting("data/anns/refcoco/val.txt", "annotations to evaluate", path=True)
    seg_gt_path: str = setting("data/masks/refcoco", "folder of the masks, <id>.npy", path=True)
    image_path: str = setting("data/images/train2014", "folder of the images", path=True)
    anchors_file: str = setting(
        "data/yolo_anchors.txt", "anchors w,h in input pixels, three pairs", path=True
    )
    word_embed: str = setting(
        "data/words/glove.6B.300d.txt",
        "word vectors: GloVe text (.txt .gz .zip), spaCy package or saved spaCy pipeline",
        path=True,
    )
    workers: int = setting(8, "parallel decoders of the input pipeline", low=1)
    max_queue_size: int = setting(4, "batches prepared ahead of the network", low=1)

    # Network.
    backbone: str = setting("darknet", "visual backbone", choices=["darknet", "vgg"])
    backbone_width: float = setting(
        1.0, "factor on the channels of the backbone, for small machines", low=0.03125, high=4.0
    )
    backbone_blocks: list[int] = setting(
        [1, 2, 8, 8, 4], "residual blocks of the five Darknet stages", low=1
    )
    head_width: float = setting(
        1.0, "factor on the channels of the two branches", low=0.03125, high=4.0
    )
    aspp_dilations: list[int] = setting([6, 12, 18], "dilations of the ASPP block", low=1)
    bn_momentum: float = setting(0.99, "momentum of BatchNorm's moving statistics", low=0, high=1)
    input_size: int = setting(416, "side of the letterboxed input, a multiple of 32", low=32)
    seg_out_stride: int = setting(8, "stride of the mask that the network predicts", choices=[8])
    mask_target: str = setting(
        "corner",
        'cells of the true mask: their top left pixel, as published, or the "area" covered',
        choices=["corner", "area"],
    )
    word_len: int = setting(15, "words of an expression that are read", low=1)
    embed_dim: int = setting(300, "dimension of the word vectors", low=1)
    rnn_cell: str = setting(
        "lstm", "recurrent cell; the published checkpoints hold gru", choices=["lstm", "gru"]
    )
    bidirectional: int = setting(1, "read the expression in both directions", choices=[0, 1])
    rnn_hidden_size: int = setting(1024, "units of the recurrent cell", low=2)
    rnn_drop_out: float = setting(0.1, "dropout of the text branch", low=0, high=0.999)
    lang_att: int = setting(1, "attention over the words", choices=[0, 1])
    jemb_dim: int = setting(1024, "joint dimension; equals the channels of Fv1", low=2)
    use_bert: int = setting(0, "BERT in place of word vectors and recurrence", choices=[0, 1])
    bert_path: str = setting("data/weights/bert", "folder of the BERT checkpoint", path=True)
    bert_trainable: int = setting(0, "fine-tune BERT", choices=[0, 1])

    # Training.
    pretrained_weights: str = setting(
        "data/weights/darknet.weights.h5",
        "backbone or MCN weights to start from; empty: from scratch",
        path=True,
    )
    free_body: int = setting(
        1,
        "what is frozen: 0 nothing, 1 the backbone but its end, 2 all but the output layers",
        choices=[0, 1, 2],
    )
    frozen_bn: str = setting(
        "moving",
        'statistics of frozen BatchNorm in training; "batch" as in Keras 2.2.4',
        choices=["moving", "batch"],
    )
    batch_size: int = setting(35, "expressions a step, over all replicas", low=1)
    lr: float = setting(1e-3, "initial learning rate of Adam", low=0)
    lr_schedule: str = setting(
        "steps", "a tenth at each of `steps`, or cosine to zero", choices=["steps", "cosine"]
    )
    warmup_steps: int = setting(0, "optimiser steps of linear warm-up", low=0)
    steps: list[int] = setting([30, 35, 40], "epochs, counted from 1, that divide lr by 10", low=1)
    epoches: int = setting(45, "epochs in all", low=1)
    start_epoch: int = setting(0, "epochs taken as done when nothing is resumed", low=0)
    cache_features: str = setting(
        "0", "keep the frozen part's features: 0, 1 (under log_path) or a folder", path=True
    )
    cache_dtype: str = setting(
        "float32", "float32 is exact, float16 half the size", choices=["float32", "float16"]
    )
    seg_loss_weight: float = setting(0.1, "weight of the mask loss", low=0)
    weight_decay: float = setting(5e-4, "L2 factor on the kernels of convolutions", low=0)
    clip_norm: float = setting(0.0, "global norm that gradients are clipped to; 0: off", low=0)
    seed: int = setting(
        10010,
        "seed of initialisation, order, choice of expression, dropout",
        low=0,
        high=2**32 - 1,
    )
    precision: str = setting(
        "float32",
        "arithmetic of the network",
        choices=["float32", "mixed_float16", "mixed_bfloat16"],
    )
    jit_compile: int = setting(0, "compile the steps with XLA", choices=[0, 1])
    distribute: str = setting(
        "one",
        "one device, all GPUs of this machine, or several machines (TF_CONFIG)",
        choices=["one", "mirrored", "multiworker"],
    )

    # Evaluation.
    evaluate_model: str = setting(
        "log/refcoco/best.weights.h5", "weights that test.py evaluates", path=True
    )
    eval_batch_size: int = setting(8, "images encoded, and expressions grounded, at once", low=1)
    det_acc_thresh: float = setting(0.5, "IoU above which a box is right", low=0, high=1)
    segment_thresh: float = setting(0.35, "probability above which a pixel is mask", low=0, high=1)
    use_nls: int = setting(1, "ASNLS: weigh the mask by the box", choices=[0, 1])

    # Logs.
    log_path: str = setting("log/refcoco", "folder of checkpoints, curves and records", path=True)
    log_images: int = setting(0, "pictures of predictions in TensorBoard, per epoch", low=0)

    def replace(self, **changes):
        """A copy with `changes`, checked like a file. Raises ConfigError."""
        return _checked(self, changes, "replace()")

    def to_dict(self):
        """Plain values by key, as written beside a log and read back by `load_config`."""
        return dataclasses.asdict(self)


FIELDS = {f.name: f for f in dataclasses.fields(Config)}
_TYPES = typing.get_type_hints(Config)


def load_config(path, overrides=()):
    """Reads a run's settings.

    Args:
        path: JSON file with any of the keys of `Config`; the rest keep their defaults.
        overrides: strings "key=value", the value in JSON or bare text, applied last.

    Returns:
        A frozen `Config` whose paths are absolute.

    Raises:
        ConfigError: the file is missing or no JSON object, or a key or value cannot be used.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(sorted(p.name for p in (PROJECT_ROOT / "config").glob("*.json")))
        raise ConfigError(f"{path}: no such file; shipped in config/: {shipped}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: line {error.lineno}: not valid JSON: {error.msg}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, must be a JSON object")
    for key in [key for key in values if key in OBSOLETE_KEYS]:
        warnings.warn(f"{path}: key '{key}' is ignored: it {OBSOLETE_KEYS[key]}", stacklevel=2)
        del values[key]
    config = _checked(Config(), values, str(path), combine=False)
    changes = dict(_parse_override(text) for text in overrides)
    config = _checked(config, changes, "--set", relative_to=Path.cwd())
    return _with_absolute_paths(config, PROJECT_ROOT)


def add_config_arguments(parser, default="config/config.json"):
    """Adds `--config FILE` and `--set key=value …` to an argparse parser."""
    parser.add_argument(
        "--config",
        default=str(PROJECT_ROOT / default),
        metavar="FILE",
        help=f"JSON file with the settings (default: {default})",
    )
    add_overrides_argument(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def add_overrides_argument(parser):
    """Adds `--set key=value …` to an argparse parser."""
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings that override the file, e.g. --set batch_size=8 backbone=vgg",
    )


def _parse_override(text):
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"--set {text}: must have the form key=value")
    if _TYPES.get(key) is str:
        return key, value
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _checked(config, values, source, combine=True, relative_to=None):
    for key in values:
        if key not in FIELDS:
            near = difflib.get_close_matches(key, FIELDS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{source}: unknown key '{key}'{hint}")
    typed = {key: _typed(key, value, source) for key, value in values.items()}
    config = dataclasses.replace(config, **typed)
    if relative_to is not None:
        config = _with_absolute_paths(config, relative_to, only=typed)
    if combine:
        _check_combination(config)
    return config


def _typed(key, value, source):
    """The value of a key in its declared type; raises ConfigError where it does not fit."""
    declared, meta = _TYPES[key], FIELDS[key].metadata
    listed = typing.get_origin(declared) is list
    element = typing.get_args(declared)[0] if listed else declared

    def refuse(allowed):
        raise ConfigError(f"{source}: {key} = {json.dumps(value)}: must be {allowed}")

    def convert(item):
        if element is float and type(item) is int:
            return float(item)
        if key == "cache_features" and item in (0, 1):  # a switch, or a folder
            return str(int(item))
        if element is int and type(item) is bool:
            return int(item)
        if type(item) is not element:
            names = {int: "a whole number", float: "a number", str: "text"}
            refuse(("a list, each " if listed else "") + names[element])
        return item

    if listed and key == "about" and isinstance(value, str):
        return [value]
    if listed and not isinstance(value, list):
        refuse(f"a list like {json.dumps(getattr(Config(), key))}")
    typed = [convert(item) for item in value] if listed else convert(value)
    if meta["choices"] is not None and typed not in meta["choices"]:
        refuse("one of " + ", ".join(json.dumps(choice) for choice in meta["choices"]))
    for item in typed if listed else [typed]:
        if meta["low"] is not None and not item >= meta["low"]:
            refuse(f"at least {meta['low']}")
        if meta["high"] is not None and not item <= meta["high"]:
            refuse(f"at most {meta['high']}")
    return typed


def _check_combination(config):
    def refuse(key, allowed):
        value = json.dumps(getattr(config, key))
        raise ConfigError(f"config: {key} = {value}: must be {allowed}")

    if config.input_size % 32:
        refuse("input_size", "a multiple of 32, such as 320, 416 or 608")
    top = round(1024 * config.backbone_width)
    if config.jemb_dim != top:
        refuse(
            "jemb_dim",
            f"{top}, the channels of Fv1 (1024 × backbone_width {config.backbone_width:g})",
        )
    if len(config.backbone_blocks) != 5:
        refuse("backbone_blocks", "five numbers, one a stage, as [1, 2, 8, 8, 4]")
    if len(config.aspp_dilations) != 3:
        refuse("aspp_dilations", "three numbers, as [6, 12, 18]")
    if config.rnn_hidden_size % 2:
        refuse("rnn_hidden_size", "even: the attention splits its channels into two groups")
    if config.steps != sorted(set(config.steps)):
        refuse("steps", "ascending epochs, as [30, 35, 40]")
    if config.cache_features != "0" and config.free_body == 0:
        refuse("cache_features", "0 where free_body is 0: no feature stays the same")
    if config.cache_features != "0" and config.frozen_bn == "batch":
        refuse("cache_features", '0 where frozen_bn is "batch": features depend on the batch')
    if config.start_epoch >= config.epoches:
        refuse("start_epoch", f"below epoches ({config.epoches})")


def _with_absolute_paths(config, base, only=None):
    changes = {}
    for key, spec in FIELDS.items():
        value = getattr(config, key)
        if not spec.metadata["path"] or not value or (only is not None and key not in only):
            continue
        if key == "word_embed" and not _is_word_file(value):
            continue
        if key == "cache_features" and value in ("0", "1"):
            continue
        changes[key] = str((Path(base) / Path(value).expanduser()).resolve())
    return dataclasses.replace(config, **changes)


def _is_word_file(value):
    """Whether word_embed is a file or folder and not the name of a spaCy package."""
    return "/" in value or value.endswith((".txt", ".gz", ".zip"))
