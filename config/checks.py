"""Checks of settings: overrides, keys and combinations. Used by `config.schema`."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from config.errors import MAX_SHOWN, ConfigError, shortened, shown
from config.json_text import parse_json

# Spellings of keys that are accepted in place of those of `Config`.
SPELLINGS = {"use_bert": "text_encoder", "epochs": "epoches"}


def parse_override(text: str, types: Mapping[str, Any]) -> tuple[str, Any]:
    """Splits "key=value" into the key and its value, which is JSON except for keys that are text.

    Args:
        text: the override.
        types: declared type by key; the value of a `str` key is used unchanged.

    Raises:
        ConfigError: there is no "=".
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"--set {shortened(text)}: must have the form key=value")
    if types.get(key) is str:
        return key, value
    try:
        return key, parse_json(value.encode("utf-8", "surrogatepass"), "--set")
    except ConfigError:
        return key, value


def canonical_keys(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Replaces accepted spellings of keys, such as the published use_bert, by those of `Config`.

    Args:
        values: settings by key.
        source: where they come from, for error messages.

    Raises:
        ConfigError: a setting is given under both names, or use_bert is neither 0 nor 1.
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
    if values["last_batch"] == "short" and values["distribute"] != "one":
        refuse("last_batch", '"wrap" or "drop" on several replicas: all need samples in each step')
    if values["start_epoch"] >= values["epoches"]:
        refuse("start_epoch", f"less than epoches ({values['epoches']})")
