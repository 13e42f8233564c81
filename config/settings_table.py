"""Writes docs/settings.md, the table of all settings, from `config.schema`.

python -m config.settings_table
"""

import argparse
import dataclasses
import json
import typing
from typing import Any

from config.files import write_text
from config.schema import FIELDS, PROJECT_ROOT, TYPES, Config
from config.setting import TYPE_NAMES

TABLE = PROJECT_ROOT / "docs" / "settings.md"
# Headings, and the first key below each of them.
GROUPS = {
    "about": "Notes",
    "train_set": "Data",
    "backbone": "Network",
    "pretrained_weights": "Training",
    "evaluate_model": "Evaluation",
    "log_path": "Logs",
}
INTRODUCTION = """\
# Settings

<!-- Written by `python -m config.settings_table` from config/schema.py; do not edit. -->

A config is a JSON file with any of these keys; omitted keys keep their defaults. `--set KEY=VALUE`
overrides them on the command line. Unknown keys and values of another type are errors. Relative
paths in a file are relative to the project, those on a command line to the current directory.
"""
HEADER = "| key | type | default | allowed | meaning |\n|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m config.settings_table", description=__doc__)
    parser.parse_args()
    write_text(TABLE, settings_table())
    print(f"Written: {TABLE}")


def settings_table() -> str:
    """Returns docs/settings.md: one table per group of settings, in the order of `Config`."""
    lines = [INTRODUCTION.rstrip()]
    for key, spec in FIELDS.items():
        if key in GROUPS:
            lines.append(f"\n## {GROUPS[key]}\n\n{HEADER}")
        lines.append(_row(key, spec, getattr(Config(), key)))
    return "\n".join(lines) + "\n"


def _row(key: str, spec: dataclasses.Field, default: Any) -> str:
    meaning = spec.metadata["help"].replace("|", "\\|")
    cells = (f"`{key}`", _type(key, spec), f"`{json.dumps(default)}`", _allowed(spec), meaning)
    return f"| {' | '.join(cells)} |"


def _type(key: str, spec: dataclasses.Field) -> str:
    if spec.metadata["path"]:
        if typing.get_args(TYPES[key]):
            return "list of paths"
        return "path or name" if spec.metadata["or_name"] else "path"
    if spec.metadata["choices"] == [0, 1]:
        return "switch"
    elements = typing.get_args(TYPES[key])
    name = TYPE_NAMES[elements[0] if elements else TYPES[key]].split(" ", 1)[1]
    return f"list of {name}s" if elements else name


def _allowed(spec: dataclasses.Field) -> str:
    meta = spec.metadata
    if meta["choices"] is not None:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in meta["choices"])
    low, high = meta["low"], meta["high"]
    return "" if low is None else f"{low:.10g} … {high:.10g}"


if __name__ == "__main__":
    main()
