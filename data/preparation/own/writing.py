"""The files of an imported data set, and which existing ones an import may replace."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.files import file_sha256, write_text
from config.run_folder import files_of_run, network_keys, weights_of_run
from config.schema import FIELDS, PROJECT_ROOT, load_config
from data.loading.masks import FILE_NAME as MASK_FILE
from data.preparation.manifest import Manifest, read_manifest

CONFIG_FILE = "config.json"
# The division of the manifests of imports.
IMPORTED = "imported"


def own_manifest(name: str, inputs: Sequence[Path], masks: Path) -> Manifest:
    """The manifest of an import, without what it contains.

    The masks count as one of the files it is made from, because they also follow from photographs,
    mask images and options. Lines are thus never paired with the masks of another import.

    Args:
        name: name of the data set.
        inputs: the files it is imported from.
        masks: folder of the masks that were written.

    Raises:
        OSError: one of the files cannot be read.
    """
    raw_files = {ascii(str(path))[1:-1]: file_sha256(path) for path in inputs}
    raw_files[MASK_FILE] = file_sha256(masks / MASK_FILE)
    return Manifest(name, IMPORTED, raw_files, masks=True)


def check_replaceable(annotations: Path, masks: Path, overwrite: bool) -> None:
    """Checks that an import replaces nothing but an earlier import, and that only on request.

    Args:
        annotations, masks: folders of lines and masks, which need not exist.
        overwrite: whether to replace an earlier import.

    Raises:
        UserError: something else would be lost; the message says what and how to avoid it.
    """
    for folder in (annotations, masks):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            continue
        if not overwrite:
            raise UserError(f"{folder} exists already: --overwrite replaces it")
        manifest = read_manifest(folder)
        if manifest is None or manifest.division != IMPORTED:
            raise UserError(
                f"{folder} was not written by this command, so --overwrite does not replace it: "
                "choose another --name"
            )


def settings_like(run: str | os.PathLike) -> dict[str, Any]:
    """The settings of a config that fine-tunes a finished run.

    Args:
        run: its folder, its config.json or a weight file in it.

    Returns:
        The settings of its network, and its weights as `pretrained_weights`.

    Raises:
        ConfigError: there is no such run, or its settings cannot be used.
        UserError: it has no weights, or a path is not valid text.
    """
    file, weights = files_of_run(run)
    settings = vars(load_config(file))
    weights = weights or weights_of_run(file, settings)
    if not weights.is_file():
        raise UserError(
            f"{weights}: no such file; let the run complete an epoch, or name a weight file"
        )
    taken = {key: settings[key] for key in network_keys(settings)}
    for key, value in taken.items():
        if FIELDS[key].metadata["path"] and "/" in value:
            taken[key] = _portable(Path(value))
    return {"pretrained_weights": _portable(weights), **taken}


def write_config(
    folder: Path,
    splits: Sequence[str],
    annotations: Path,
    masks: Path,
    image_path: Path,
    more: Mapping[str, Any],
) -> None:
    """Writes the config of an imported data set; all other settings keep their defaults.

    Args:
        folder: the folder to write to.
        splits: names of the splits.
        annotations, masks, image_path: folders of lines, masks and images that it refers to.
        more: further settings, see `settings_like`.

    Raises:
        UserError: the path of a folder is not valid text.
        NoSpaceError: the disk is full.
    """
    train = "train" if "train" in splits else splits[0]
    evaluate = next((s for s in ("val", "test", "testA") if s in splits), splits[-1])
    name = annotations.name
    settings = {
        "about": [f"Own data, imported as {name}."],
        "train_set": _portable(annotations / f"{train}.txt"),
        "evaluate_set": _portable(annotations / f"{evaluate}.txt"),
        "seg_gt_path": _portable(masks),
        "image_path": _portable(image_path),
        "evaluate_model": f"log/{name}/best.weights.h5",
        "log_path": f"log/{name}",
        **more,
    }
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    write_text(folder / CONFIG_FILE, text)


def _portable(path: Path) -> str:
    """Makes a path inside the project relative to its root, all others absolute."""
    path = path.resolve()
    inside = path.is_relative_to(PROJECT_ROOT)
    text = path.relative_to(PROJECT_ROOT).as_posix() if inside else str(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(
            f"{ascii(text)[1:-1]}: a config cannot contain this path, which is not valid UTF-8; "
            "rename the folder"
        ) from None
    return text
