"""Manifests of prepared sets: which raw files and division the lines and masks were made from.

`manifest.json` is written beside the annotation lines and beside the masks. Masks are numbered
differently in each division of a data set, so lines that are paired with the masks of another
preparation would train on wrong masks without any error.

It also lists the files beside it with their checksums, and ends with its own: what a later
preparation may delete. Every other file, and every file that was changed, is the user's.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from config.files import file_sha256, write_text
from config.json_text import check_regular
from data.loading.annotations import Referent, read_annotations
from data.loading.errors import DataError
from data.loading.masks import FILE_NAME as MASK_FILE
from data.loading.masks import Masks, open_masks
from data.preparation.json_fields import parse_json
from data.support.sealing import is_listed, is_sealed, sealed

FILE_NAME = "manifest.json"
OWN = "sha256_of_manifest"
# Ends the division of sets without the expressions that were judged wrong.
REVIEWED_SUFFIX = ", reviewed"  # Of the name of a division.
_ALLOW = "or add --overwrite to replace lines and masks together"


@dataclass(frozen=True)
class Manifest:
    """What a prepared set was made from and what it contains.

    Attributes:
        dataset: name of the data set.
        division: name of its division into splits; empty if it has only one.
        raw_files: name of each raw file → its SHA-256 in hexadecimal digits.
        masks: whether masks were prepared.
        splits: split → {"referents": …, "expressions": …, "images": …}, numbers of each.
        files: name of each file of the set beside the manifest → its SHA-256 in hexadecimal
            digits.
        categories: number of a category, as text → its name; empty if the names are not known.
    """

    dataset: str
    division: str
    raw_files: Mapping[str, str]
    masks: bool
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Equal for all preparations of the same division of the same raw files."""
        origin = [self.dataset, self.division, sorted(self.raw_files.items())]
        return hashlib.sha256(json.dumps(origin).encode()).hexdigest()[:16]

    @property
    def is_reviewed(self) -> bool:
        """Whether expressions that were judged wrong are left out of the evaluation splits."""
        return self.division.endswith(REVIEWED_SUFFIX)

    @property
    def described(self) -> str:
        """The set in words: "refcoco (unc) of raw files 1a2b3c4d"."""
        division = f" ({self.division})" if self.division else ""
        return f"{self.dataset}{division} of raw files {self.id[:8]}"


def write_manifests(
    manifest: Manifest, referents: Mapping[str, Sequence[Referent]], folders: Sequence[Path]
) -> None:
    """Completes the manifest of a preparation with what was written and writes it to each folder.

    Args:
        manifest: without splits and files.
        referents: split → referents.
        folders: those of the lines and masks, which contain the files written and no others.

    Raises:
        NoSpaceError: the disk is full.
    """
    splits = {
        split: {
            "referents": len(of_split),
            "expressions": sum(len(referent.expressions) for referent in of_split),
            "images": len({referent.image for referent in of_split}),
        }
        for split, of_split in referents.items()
    }
    for folder in folders:
        files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
        content = asdict(replace(manifest, splits=splits, files=files))
        write_text(folder / FILE_NAME, sealed({"id": manifest.id, **content}, OWN))


def read_manifest(folder: str | os.PathLike) -> Manifest | None:
    """Reads the manifest in a folder of lines or masks.

    Returns:
        The manifest; None if there is none, as in sets of earlier versions and sets made by hand.

    Raises:
        DataError: it is damaged; the message names the file.
    """
    path = Path(folder) / FILE_NAME
    try:
        check_regular(path, DataError)
        content = parse_json(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    fields: dict[str, type] = {
        **{"dataset": str, "division": str, "raw_files": dict, "masks": bool},
        **{"splits": dict, "files": dict, "categories": dict},
    }
    values: dict[str, Any] = content if isinstance(content, dict) else {}
    values.setdefault("categories", {})  # Earlier versions did not record them.
    wrong = [name for name, of in fields.items() if not isinstance(values.get(name), of)]
    if wrong:
        raise DataError(
            f"{path}: key '{wrong[0]}' is missing or of another type; prepare the set again, or "
            "delete the file if lines and masks are yours"
        )
    return Manifest(**{name: values[name] for name in fields})


def open_sets(
    annotation_files: Sequence[str | os.PathLike], mask_folder: str | os.PathLike
) -> tuple[list[list[Referent]], Masks]:
    """Reads the lines of splits and opens their masks, all of the same preparation.

    Args:
        annotation_files: annotation files of the splits.
        mask_folder: folder of the masks.

    Returns:
        The referents of each split, and the masks.

    Raises:
        DataError, OSError: lines or masks cannot be used, are of different preparations, or were
            replaced while they were read.
    """
    folders = [Path(mask_folder), *dict.fromkeys(Path(file).parent for file in annotation_files)]
    manifests = [folder / FILE_NAME for folder in folders]
    with unchanged(*annotation_files, Path(mask_folder) / MASK_FILE, *manifests):
        referents = [read_annotations(file) for file in annotation_files]
        masks = open_masks(mask_folder)
        for file in annotation_files:
            check_pairing(file, mask_folder)
    return referents, masks


@contextmanager
def unchanged(*files: str | os.PathLike) -> Iterator[None]:
    """Checks that files, which need not exist, are the same after the block that reads them.

    Raises:
        DataError: one of them is not.
    """
    before = [_checksum(file) for file in files]
    yield
    for file, checksum in zip(files, before, strict=True):
        if _checksum(file) != checksum:
            raise DataError(f"{file} changed while it was read; run the same command again")


def _checksum(file: str | os.PathLike) -> str | None:
    return file_sha256(file) if Path(file).is_file() else None


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


def is_as_written(folder: Path, path: Path) -> bool:
    """Whether a file is one of the set whose manifest is in a folder, and was not changed since.

    Args:
        folder: folder of lines or masks.
        path: the file, relative to the folder.
    """
    try:
        manifest = read_manifest(folder)
    except DataError:
        return False
    if manifest is None:
        return False
    if str(path) == FILE_NAME:
        return is_sealed(folder / path, OWN)
    return is_listed(folder, path, manifest.files)


def files_of_others(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those files of a folder of lines or masks that replacing it must not delete.

    Args:
        folder: need not exist.
        names: the names to look at.
    """
    paths = (folder / name for name in sorted(names))
    return [
        path
        for path in paths
        if os.path.lexists(path) and not is_as_written(folder, Path(path.name))
    ]


def replaced_files_of_others(folders: Sequence[Path], new_folders: Sequence[Path]) -> list[Path]:
    """Files of folders that are not as a preparation wrote them and have the names of new files.

    Args:
        folders: those of lines and masks, which need not exist.
        new_folders: what will replace them, complete with their manifests.
    """
    return [
        path
        for folder, new in zip(folders, new_folders, strict=True)
        for path in files_of_others(folder, _names(new))
    ]


def check_replaceable(
    annotations: Path, masks: Path, new: Manifest, splits: Collection[str], overwrite: bool
) -> None:
    """Checks that a preparation only replaces what it would write again.

    Args:
        annotations, masks: folders of lines and masks, which need not exist.
        new: manifest of the preparation.
        splits: names of the splits that it may write.
        overwrite: whether another set may be replaced.

    Raises:
        DataError: something else would be lost, or lines would be paired with masks of another set;
            the message says what and how to avoid it.
    """
    if not new.masks and (others := files_of_others(masks, _mask_names(masks))):
        raise DataError(
            f"{masks} contains {others[0].name}, which was not prepared with {annotations} or was "
            "changed since: move it away, or add --generate_mask --overwrite"
        )
    if overwrite:
        return
    old = read_manifest(annotations)
    line_names = {f"{split}.txt" for split in splits} & _names(annotations)
    if old is None:
        for folder, names in ((annotations, line_names), (masks, _mask_names(masks))):
            if names:
                raise DataError(
                    f"{folder} contains {min(names)}, but {annotations} has no {FILE_NAME} that "
                    f"tells what it was prepared from: choose another --output_dir, {_ALLOW}"
                )
        return
    if old.id != new.id:
        raise DataError(
            f"{annotations} contains {old.described}, and this is {new.described}: choose another "
            f"--output_dir, {_ALLOW}"
        )
    _check_masks(annotations, masks, old, new)
    _check_unchanged(annotations, old, line_names)


def _check_masks(annotations: Path, masks: Path, old: Manifest, new: Manifest) -> None:
    """The part of `check_replaceable` about masks beside lines that may be replaced."""
    of_masks, names = read_manifest(masks), _mask_names(masks)
    if of_masks is None or of_masks.id != old.id:
        if names:
            raise DataError(
                f"{masks} contains {min(names)}, which was not prepared with {annotations}: "
                f"choose another --output_dir, {_ALLOW}"
            )
        return
    if not new.masks:
        raise DataError(
            f"{masks} contains the masks of {annotations}, which would be removed: add "
            f"--generate_mask, {_ALLOW}"
        )
    _check_unchanged(masks, of_masks, [MASK_FILE])


def _check_unchanged(folder: Path, manifest: Manifest, names: Iterable[str]) -> None:
    for path in files_of_others(folder, names):
        if path.name in manifest.files:
            raise DataError(
                f"{path} was changed after its preparation: save it under another name, {_ALLOW}"
            )
        raise DataError(
            f"{path} is not listed in {folder / FILE_NAME}: choose another --output_dir, or add "
            "--overwrite, which keeps it with a number appended to its name"
        )


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _mask_names(folder: Path) -> set[str]:
    """Names of the files in a folder that are read as masks: those of all versions."""
    return {
        name for name in _names(folder) if name == MASK_FILE or re.fullmatch(r"[0-9]+\.npy", name)
    }
