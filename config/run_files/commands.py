"""The command that fetches or makes a file, judged by the path at which a run expects it."""

import os
from collections.abc import Iterable
from pathlib import Path

from config.json_text import parse_json
from config.run_files.released import released_of
from config.schema import PROJECT_ROOT

# Data set → the division (`--split`) of published results.
DIVISIONS = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd", "refclef": "berkeley"}
# Last parts of a path below the data folder → what `data/download.py` stores there.
DOWNLOADS = {
    ("words", "glove.6B.300d.txt"): "glove",
    ("words", "glove.840B.300d.txt"): "glove-840b",
    ("images", "train2014"): "coco-train2014",
    ("images", "refclef"): "refclef",
    ("weights", "bert"): "bert",
}
# What `make` makes, with its command.
MADE = {
    "make demo": ("data/demo", "log/demo"),
    "make demo-model": ("data/demo_large", "log/demo_model"),
}
# Files and folders of the repository.
SHIPPED = (
    "data/yolo_anchors.txt",
    "data/yolo_anchors_256.txt",
    "data/demo_backbone.weights.h5",
    "data/demo_glove.50d.txt",
    "data/demo_model",
)


def prepare_command(dataset: str, raw: str = "data/raw", output: str = "data") -> str:
    """The command that prepares a public data set in the division of published results."""
    return (
        f"python data/data_process.py --data_root {raw} --output_dir {output} --dataset {dataset} "
        f"--split {DIVISIONS[dataset]} --generate_mask"
    )


def command_for(path: str | os.PathLike) -> str | None:
    """The command that fetches or makes a file or folder that a run needs.

    Args:
        path: absolute, or relative to the current directory.

    Returns:
        A command line for the root of the project, or None if no command of it is known to make
        this file.
    """
    path = Path(os.path.abspath(path))
    within = _relative(path)
    if within is not None:
        for command, made in MADE.items():
            if _is_in(within, made):
                return command
        if _is_in(within, SHIPPED):
            return f"git checkout {within}"
    name = download_of(path)
    if name is not None:
        return f"python data/download.py {name}{_output(path.parent.parent)}"
    return _preparation(path) or _training(path)


def download_of(path: str | os.PathLike) -> str | None:
    """The name by which `data/download.py` fetches a file or folder; None if it does not."""
    path, released = Path(path), released_of(path)
    return released.name if released is not None else DOWNLOADS.get((path.parent.name, path.name))


def how_to_get(path: str | os.PathLike, otherwise: str) -> str:
    """A clause for error messages: how to get a missing file, or `otherwise` if it is unknown."""
    command = command_for(path)
    return otherwise if command is None else f"this command gets it: {command}"


def _relative(path: Path) -> str | None:
    return path.relative_to(PROJECT_ROOT).as_posix() if path.is_relative_to(PROJECT_ROOT) else None


def _is_in(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _output(folder: Path) -> str:
    return "" if folder == PROJECT_ROOT / "data" else f" --output {folder}"


def _preparation(path: Path) -> str | None:
    """For …/anns/<data set>/<split>.txt and …/masks/<data set>."""
    folder = path.parent if path.suffix == ".txt" else path
    kind, dataset, data = folder.parent.name, folder.name, folder.parent.parent
    if kind not in ("anns", "masks") or dataset not in DIVISIONS:
        return None
    if data == PROJECT_ROOT / "data":
        return f"python data/download.py {dataset} && {prepare_command(dataset)}"
    raw, output = f"{data}/raw", _output(data)
    return (
        f"python data/download.py {dataset}{output} && {prepare_command(dataset, raw, str(data))}"
    )


def _training(path: Path) -> str | None:
    """For the weights that training with a shipped config writes."""
    within = _relative(path)
    for file in sorted((PROJECT_ROOT / "config").glob("*.json")):
        if within is not None and parse_json(file.read_bytes(), file)["evaluate_model"] == within:
            return f"python train.py --config config/{file.name}"
    return None
