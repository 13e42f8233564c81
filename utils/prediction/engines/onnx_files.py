"""The parts of a network as ONNX, written once beside the weight file."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from config.errors import UserError, message_of
from config.files import file_sha256, write_bytes, write_text
from config.run_folder import NETWORK
from config.schema import PROJECT_ROOT, Config
from data.loading.anchors import read_anchors
from data.support.sealing import is_listed, is_sealed, json_object, sealed
from data.support.staging import complete_interrupted, replaced_together
from utils.prediction.engines.conversion import CONVERTERS, ONNX_OPSET, require, to_onnx
from utils.prediction.engines.parts import Parts

PARTS = tuple(field.name for field in fields(Parts))
SUFFIX = ".engine"  # Of the folder beside the weight file.
DESCRIPTION, KEY, FILES, OWN = "engine.json", "key", "sha256", "sha256_of_description"
# Increases whenever the same weights and settings are converted differently.
FORMAT = 1


def onnx_files(
    config: Config, weights: str | os.PathLike, parts: Callable[[], Parts]
) -> dict[str, bytes]:
    """Reads the parts of a network from the folder beside its weights, or converts and keeps them.

    Files that are missing, damaged or of other weights or settings are converted anew; files that
    are not ours stay. Where the folder cannot be written, a line on standard error says so.

    Args:
        config: the settings of the network.
        weights: its weight file.
        parts: makes the parts in TensorFlow, in float32.

    Returns:
        Name of `PARTS` → content of the ONNX file.

    Raises:
        UserError, OSError: packages are missing, or ONNX cannot express the network.
    """
    folder = Path(f"{weights}{SUFFIX}")
    key = _key(config, weights)
    kept = _read(folder, key)
    if kept is not None:
        return kept
    require(CONVERTERS, f"engine={config.engine}", "requirements-engines.txt")
    print(f"converting the network, once per weight file, for {folder} ...", file=sys.stderr)
    source = parts()
    files = {name: to_onnx(getattr(source, name), name).SerializeToString() for name in PARTS}
    try:
        _write(folder, key, files)
    except (UserError, OSError) as error:
        print(f"note: the converted network is not kept: {message_of(error)}", file=sys.stderr)
    return files


def _key(config: Config, weights: str | os.PathLike) -> str:
    """Identifies a conversion: the weights, the settings and the code of the network."""
    # Of files, the contents count: those of the words are no part of the network.
    names = sorted(set(NETWORK) - {"anchors_file", "word_embed", "bert_path"})
    settings = {name: getattr(config, name) for name in names}
    anchors = read_anchors(config.anchors_file).tolist()
    code = [file_sha256(path) for path in sorted((PROJECT_ROOT / "model").rglob("*.py"))]
    content = [FORMAT, ONNX_OPSET, settings, anchors, code, file_sha256(weights)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read(folder: Path, key: str) -> dict[str, bytes] | None:
    """The files of a folder if they are complete, unchanged and of this key."""
    written = _written(folder)
    if written.get(KEY) != key:
        return None
    files = {}
    for name in PARTS:
        try:
            files[name] = (folder / _file(name)).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(files[name]).hexdigest() != written[FILES].get(_file(name)):
            return None
    return files


def _write(folder: Path, key: str, files: Mapping[str, bytes]) -> None:
    complete_interrupted(folder)
    with replaced_together(folder, is_ours=_is_ours) as (new,):
        new.mkdir()
        for name, content in files.items():
            write_bytes(new / _file(name), content)
        sums = {_file(name): hashlib.sha256(content).hexdigest() for name, content in files.items()}
        write_text(new / DESCRIPTION, sealed({KEY: key, FILES: sums}, OWN))


def _written(folder: Path) -> dict[str, Any]:
    """The description of a folder; empty if there is none, or it was changed."""
    try:
        path = folder / DESCRIPTION
        return json_object(path) if is_sealed(path, OWN) else {}
    except OSError:
        return {}


def _is_ours(folder: Path, path: Path) -> bool:
    """Whether `_write` wrote a file of a folder and its content is unchanged."""
    written = _written(folder)
    if path == Path(DESCRIPTION):
        return bool(written)
    return is_listed(folder, path, written.get(FILES, {}))


def _file(part: str) -> str:
    return f"{part}.onnx"
