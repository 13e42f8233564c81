"""One setting: its declaration in `config.schema`, and the check of a value against it."""

import dataclasses
import json
import sys
import typing
from collections.abc import Sequence
from typing import Any, NoReturn

from config.errors import ConfigError, shown

LONGEST_LIST = 1000
TYPE_NAMES = {int: "an integer", float: "a number", str: "a string"}


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
            refuse(("a list, each " if listed else "") + TYPE_NAMES[element])
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
    if meta["path"] and value == "" and not meta["or_empty"]:
        refuse("a path, not empty")
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
