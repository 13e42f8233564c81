"""Settings: their declaration in `config.schema`, and checks of values, keys and combinations."""

import dataclasses
import difflib
import json
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from config.errors import MAX_SHOWN, ConfigError, shortened, shown
from config.json_text import parse_json

LONGEST_LIST = 1000
TYPE_NAMES = {int: "an integer", float: "a number", str: "a string"}
# Spellings of keys that are accepted in place of those of `Config`.
SPELLINGS = {"use_bert": "text_encoder", "epochs": "epoches"}
# Keys that may be given a list, whose first entry they hold, and the keys of the other entries.
LISTED = {"train_set": "also_train", "evaluate_set": "also_evaluate"}


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[Any] | None = None,
    low: float | None = None,
    high: float | None = None,
    path: bool = False,
    or_name: bool = False,
    or_empty: bool = False,
) -> Any:
    """Declares one setting.

    Args:
        default: the default value; lists are copied for each `Config`.
        help: one sentence for people who read or override the setting.
        choices: the allowed values, if they can be listed.
        low, high: inclusive bounds of a number, or of every number of a list.
        path: whether the value is a file or folder, made absolute as the module describes.
        or_name: whether a path without "/" and "." is the name of something else, kept as it is.
        or_empty: whether a path may be empty.

    Returns:
        A dataclass field.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "low": low,
        "high": high,
        "path": path,
        "or_name": or_name,
        "or_empty": or_empty,
    }
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def converted(spec: dataclasses.Field, declared: Any, value: Any, source: str) -> Any:
    """Checks the value of one setting and converts it to its declared type.

    Integers are accepted as numbers, and booleans as switches 0 and 1.

    Args:
        spec: field of `Config`, made by `setting`.
        declared: type of the field: int, float, str or a list of one of them.
        value: the value, as JSON gives it.
        source: where it comes from, for error messages.

    Raises:
        ConfigError: the type, a choice or a bound does not fit.
    """
    meta = spec.metadata
    listed = typing.get_origin(declared) is list
    element = typing.get_args(declared)[0] if listed else declared

    def refuse(allowed: str) -> NoReturn:
        raise ConfigError(f"{source}: {spec.name} = {shown(value)}: must be {allowed}")

    def convert(item: Any) -> Any:
        if element is float and type(item) is int and abs(item) <= sys.float_info.max:
            return float(item)
        if meta["choices"] == [0, 1] and type(item) is bool:
            return int(item)
        if type(item) is not element:
            either = " or a list of strings" if spec.name in LISTED else ""
            refuse(("a list, each " if listed else "") + TYPE_NAMES[element] + either)
        if element is str and not _is_text(item):
            refuse("text without NUL and undecodable characters")
        return item

    if spec.name == "about" and isinstance(value, str):
        return [value]
    if listed and not isinstance(value, list):
        default: Any = spec.default_factory
        refuse(f"a list like {json.dumps(default())}")
    if listed and len(value) > LONGEST_LIST:
        raise ConfigError(f"{source}: {spec.name}: has {len(value):,} entries, at most 1,000 fit")
    if meta["path"] and not meta["or_empty"] and "" in (value if listed else [value]):
        refuse("a path, not empty" if not listed else "a list of paths, none of them empty")
    typed = [convert(item) for item in value] if listed else convert(value)
    if meta["choices"] is not None and typed not in meta["choices"]:
        refuse("one of " + ", ".join(json.dumps(choice) for choice in meta["choices"]))
    for item in typed if listed else [typed]:
        if meta["low"] is not None and not item >= meta["low"]:
            refuse(f"at least {meta['low']:.10g}")
        if meta["high"] is not None and not item <= meta["high"]:
            refuse(f"at most {meta['high']:.10g}")
    return typed


def _is_text(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def parse_override(text: str, types: Mapping[str, Any]) -> tuple[str, Any]:
    """Splits "key=value" into the key and its value, which is JSON except for keys that are text.

    Args:
        text: the override.
        types: declared type by key; the value of a `str` key is used unchanged, unless it is a
            list and the key is one of `LISTED`.

    Raises:
        ConfigError: there is no "=".
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"--set {shortened(text)}: must have the form key=value")
    if types.get(key) is str and not (key in LISTED and value.startswith("[")):
        return key, value
    try:
        return key, parse_json(value.encode("utf-8", "surrogatepass"), "--set")
    except ConfigError:
        return key, value


def canonical_keys(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Replaces accepted spellings of settings, such as use_bert, by those of `Config`.

    A list of sets becomes the first one and the others; a single set is one without others.

    Args:
        values: settings by key.
        source: where they come from, for error messages.

    Raises:
        ConfigError: a setting is given twice, use_bert is neither 0 nor 1, or a list of sets is
            empty.
    """
    renamed = dict(values)
    for spelling in [key for key in values if key in SPELLINGS]:
        key, value = SPELLINGS[spelling], renamed.pop(spelling)
        if key in values:
            raise ConfigError(f"{source}: '{spelling}' and '{key}' are one setting; give only one")
        if spelling == "use_bert":
            if value not in (0, 1):
                raise ConfigError(f"{source}: use_bert = {shown(value)}: must be 0 or 1")
            value = "bert" if value else "recurrent"
        renamed[key] = value
    for key, others in LISTED.items():
        value = renamed.get(key)
        if isinstance(value, list) and all(isinstance(path, str) for path in value):
            if not value:
                raise ConfigError(f"{source}: {key}: is an empty list; name at least one set")
            if others in renamed:
                raise ConfigError(
                    f"{source}: {key} is a list and contains '{others}'; give only one"
                )
            renamed[key], renamed[others] = value[0], value[1:]
        elif key in renamed:
            renamed.setdefault(others, [])
    return renamed


def refuse_unknown(keys: Iterable[str], known: Iterable[str], source: str) -> None:
    """Raises a ConfigError that suggests a similar key if one of `keys` is not `known`."""
    known = [*known, *SPELLINGS]
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key[:MAX_SHOWN], known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{source}: unknown key '{shortened(key)}'{hint}")


def check_combination(values: Mapping[str, Any]) -> None:
    """Checks that settings which are allowed by themselves fit together.

    Args:
        values: the value of every key.

    Raises:
        ConfigError: the first key that does not fit, and what it must be.
    """

    def refuse(key: str, allowed: str) -> NoReturn:
        raise ConfigError(f"config: {key} = {shown(values[key])}: must be {allowed}")

    if values["input_size"] % 32:
        refuse("input_size", "a multiple of 32, such as 320, 416 or 608")
    if len(values["backbone_blocks"]) != 5:
        refuse("backbone_blocks", "five numbers, one per stage, such as [1, 2, 8, 8, 4]")
    if len(values["aspp_dilations"]) != 3:
        refuse("aspp_dilations", "three numbers, such as [6, 12, 18]")
    if values["rnn_hidden_size"] % 2:
        refuse("rnn_hidden_size", "even: the attention splits its channels into two groups")
    if values["steps"] != sorted(set(values["steps"])):
        refuse("steps", "ascending epochs, such as [30, 35, 40]")
    if values["cache_features"] and values["free_body"] == 0:
        refuse("cache_features", "0 if free_body is 0: all features change during training")
    if values["cache_features"] and values["frozen_bn"] == "batch":
        refuse("cache_features", '0 if frozen_bn is "batch": features depend on the batch')
    for key in ("flip", "scale_jitter", "color_jitter"):
        if values["cache_features"] and values[key]:
            reason = "cached features are those of unchanged images"
            refuse(key, f"0 if cache_features is 1, or set cache_features to 0: {reason}")
    if values["accumulate_steps"] > max(values["batch_size"] // 2, 1):
        most = f"at most half of batch_size ({values['batch_size']})"
        refuse("accumulate_steps", f"{most}: BatchNorm needs two samples in each part")
    if values["jit_compile"] and values["distribute"] != "one":
        refuse("jit_compile", '0 if distribute is not "one": XLA cannot exchange gradients')
    for key, others in LISTED.items():
        # Masks and results of sets are told apart by the names of file and folder.
        names = ["/".join(Path(path).parts[-2:]) for path in (values[key], *values[others])]
        if twice := [name for name in names if names.count(name) > 1]:
            refuse(others, f"sets of different names: {twice[0]} is there twice")
    if values["train_weights"] and len(values["train_weights"]) != 1 + len(values["also_train"]):
        refuse("train_weights", f"one number per training set, {1 + len(values['also_train'])}")
    if values["start_epoch"] >= values["epoches"]:
        refuse("start_epoch", f"less than epoches ({values['epoches']})")
