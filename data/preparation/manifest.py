"""Manifests of prepared sets: which raw files and division the lines and masks were made from.

`manifest.json` is written beside the annotation lines and, with the same content, beside the masks.
Masks are numbered differently in each division of a data set, so lines that are paired with the
masks of another preparation would train on wrong masks without any error.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from config.files import file_sha256, write_text
from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.loading.masks import FILE_NAME as MASK_FILE
from data.preparation.json_fields import parse_json

FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a prepared set was made from and what it contains.

    Attributes:
        dataset: name of the data set.
        division: name of its division into splits; empty if it has only one.
        raw_files: name of each raw file → its SHA-256 in hexadecimal digits.
        masks: whether masks were prepared.
        splits: split → {"referents": …, "expressions": …, "images": …}, numbers of each.
        files: name of each annotation file → its SHA-256 in hexadecimal digits.
    """

    dataset: str
    division: str
    raw_files: Mapping[str, str]
    masks: bool
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Equal for all preparations of the same division of the same raw files."""
        origin = [self.dataset, self.division, sorted(self.raw_files.items())]
        return hashlib.sha256(json.dumps(origin).encode()).hexdigest()[:16]

    @property
    def described(self) -> str:
        """The set in words: "refcoco (unc) of raw files 1a2b3c4d"."""
        division = f" ({self.division})" if self.division else ""
        return f"{self.dataset}{division} of raw files {self.id[:8]}"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of the lines or masks in a folder."""
    content = {"id": manifest.id, **asdict(manifest)}
    write_text(folder / FILE_NAME, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def completed_manifest(
    manifest: Manifest, referents: Mapping[str, Sequence[Referent]], annotations: Path
) -> Manifest:
    """Adds what was written to the manifest of a preparation.

    Args:
        manifest: without splits and files.
        referents: split → referents.
        annotations: folder that contains the files written, and no others.
    """
    splits = {
        split: {
            "referents": len(of_split),
            "expressions": sum(len(referent.expressions) for referent in of_split),
            "images": len({referent.image for referent in of_split}),
        }
        for split, of_split in referents.items()
    }
    files = {path.name: file_sha256(path) for path in sorted(annotations.iterdir())}
    return replace(manifest, splits=splits, files=files)


def read_manifest(folder: str | os.PathLike) -> Manifest | None:
    """Reads the manifest in a folder of lines or masks.

    Returns:
        The manifest; None if there is none, as in sets of earlier versions and sets made by hand.

    Raises:
        DataError: it is damaged; the message names the file.
    """
    path = Path(folder) / FILE_NAME
    try:
        content = parse_json(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    fields: dict[str, type] = {
        **{"dataset": str, "division": str, "raw_files": dict, "masks": bool},
        **{"splits": dict, "files": dict},
    }
    values: dict[str, Any] = content if isinstance(content, dict) else {}
    wrong = [name for name, of in fields.items() if not isinstance(values.get(name), of)]
    if wrong:
        raise DataError(
            f"{path}: key '{wrong[0]}' is missing or of another type; prepare the set again, or "
            "delete the file if lines and masks are yours"
        )
    return Manifest(**{name: values[name] for name in fields})


def check_pairing(annotation_file: str | os.PathLike, mask_folder: str | os.PathLike) -> None:
    """Checks that the lines and masks of a set are of the same preparation.

    Sets without a manifest, of earlier versions or made by hand, are accepted.

    Args:
        annotation_file: annotation file of a split.
        mask_folder: folder of the masks.

    Raises:
        DataError: they are not, or a manifest is damaged.
    """
    lines = read_manifest(Path(annotation_file).parent)
    masks = read_manifest(mask_folder)
    if lines is not None and masks is not None and lines.id != masks.id:
        raise DataError(
            f"{annotation_file}: the lines are of {lines.described}, but the masks in "
            f"{mask_folder} are of {masks.described}; set seg_gt_path to the masks of these lines, "
            "or prepare both together again"
        )


def is_prepared_file(path: Path, splits: Collection[str]) -> bool:
    """Whether preparation writes a file of this path into the folder of lines or masks.

    Args:
        path: relative to the folder.
        splits: names of the splits that the data set can have.
    """
    names = {FILE_NAME, MASK_FILE, *(f"{split}.txt" for split in splits)}
    is_mask = path.suffix == ".npy" and path.stem.isdecimal()
    return path.parent == Path() and (path.name in names or is_mask)


def check_replaceable(
    annotations: Path, masks: Path, new: Manifest, splits: Collection[str]
) -> None:
    """Checks that a preparation only replaces what it would write again.

    Args:
        annotations, masks: folders of lines and masks, which need not exist.
        new: manifest of the preparation.
        splits: names of the splits that the data set can have.

    Raises:
        DataError: something else would be lost; the message says what and how to allow it.
    """
    old = read_manifest(annotations)
    allow = "or add --overwrite to replace lines and masks together"
    if old is None:
        for folder in (annotations, masks):
            if name := _first_prepared(folder, splits):
                raise DataError(
                    f"{folder} contains {name}, but {annotations} has no {FILE_NAME} that tells "
                    f"what it was prepared from: choose another --output_dir, {allow}"
                )
        return
    if old.id != new.id:
        raise DataError(
            f"{annotations} contains {old.described}, and this is {new.described}: choose another "
            f"--output_dir, {allow}"
        )
    for name, digest in old.files.items():
        if (annotations / name).is_file() and file_sha256(annotations / name) != digest:
            raise DataError(
                f"{annotations / name} was changed after its preparation: save it under another "
                f"name, {allow}"
            )
    of_masks = read_manifest(masks)
    if of_masks is not None and of_masks.id == old.id:
        if not new.masks:
            raise DataError(
                f"{masks} contains the masks of {annotations}, which would be removed: add "
                f"--generate_mask, {allow}"
            )
    elif name := _first_prepared(masks, splits):
        raise DataError(
            f"{masks} contains {name}, which was not prepared with {annotations}: choose another "
            f"--output_dir, {allow}"
        )


def _first_prepared(folder: Path, splits: Collection[str]) -> str | None:
    """Name of a file in a folder that preparation might have written, the first one."""
    if not folder.is_dir():
        return None
    names = (path.name for path in folder.iterdir() if is_prepared_file(Path(path.name), splits))
    return min(names, default=None)
