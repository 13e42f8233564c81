"""Import of own data: entries → anns/<name>/ and masks/<name>/, all of them or nothing."""

import collections
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from config.errors import UserError
from config.files import write_text
from config.schema import PROJECT_ROOT
from data.loading.annotations import Referent, write_annotations
from data.preparation.json_fields import EntryError
from data.preparation.own.entries import Entry, OwnData
from data.preparation.own.objects import ImageFile, open_image, prepare_entry
from data.preparation.wording import plural
from data.support.progress import Progress

FAULTS_SHOWN = 20

Result = TypeVar("Result")
_Prepared = list[tuple[Entry, Referent]]


class ImportRefusedError(UserError):
    """The data cannot be imported, and nothing was written; the message lists all faults."""


@dataclass(frozen=True)
class ImportOptions:
    """Choices for an import.

    Attributes:
        split: split of entries that name none.
        val_share: share of the images without a split that is assigned to the split "val".
        masks_from_boxes: whether to fill the box of an entry that has no mask.
        overwrite: whether to replace an existing data set of the same name.
    """

    split: str = "train"
    val_share: float = 0.0
    masks_from_boxes: bool = False
    overwrite: bool = False


@dataclass
class ImportSummary:
    """What an import did.

    Attributes:
        referents: split → referents, in the order of the input.
        masks: kind of mask → number of them.
        notes: what was changed or is odd → where.
    """

    referents: dict[str, list[Referent]] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=collections.Counter)
    notes: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))


def import_data(
    data: OwnData,
    image_path: str | os.PathLike,
    output: str | os.PathLike,
    name: str,
    options: ImportOptions | None = None,
    workers: int = 8,
) -> ImportSummary:
    """Writes the annotation lines, masks and config.json of a data set, or nothing at all.

    Args:
        data: entries and faults, from `read_json_lines` or `read_coco_entries`.
        image_path: folder that contains the images.
        output: folder to write anns/<name> and masks/<name> to.
        name: name of the data set.
        options: choices; None: the defaults.
        workers: images and masks to open in parallel.

    Raises:
        ImportRefusedError: there are faults or no objects, or the data set exists already.
    """
    options = options or ImportOptions()
    summary, faults = ImportSummary(), list(data.faults)
    annotations, masks = Path(output) / "anns" / name, Path(output) / "masks" / name
    for folder in (annotations, masks):
        if folder.exists() and not options.overwrite:
            raise ImportRefusedError(f"{folder} exists already: --overwrite replaces it")
    staging = masks.with_name(f".{name}-{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        pool = ThreadPoolExecutor(workers)
        try:
            images = _open_images(data.entries, Path(image_path), pool, summary, faults)
            entries = [entry for entry in data.entries if entry.image in images]
            prepared = _prepare_all(
                entries, images, staging, options.masks_from_boxes, pool, summary, faults
            )
        finally:
            # After an interruption, all queued entries would otherwise still be prepared.
            pool.shutdown(cancel_futures=True)
        if not faults and not prepared:
            faults.append("there is no object to import")
        if faults:
            raise ImportRefusedError(_listed(faults))
        summary.referents = _divide(prepared, options)
        _put_in_place(summary.referents, annotations, masks, staging, Path(image_path))
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return summary


def _open_images(
    entries: Sequence[Entry],
    image_path: Path,
    pool: ThreadPoolExecutor,
    summary: ImportSummary,
    faults: list[str],
) -> dict[str, ImageFile]:
    """Image as written → `ImageFile`; adds images that cannot be opened to `faults`."""
    first_entry: dict[str, Entry] = {}
    for entry in entries:
        first_entry.setdefault(entry.image, entry)

    def open_one(entry: Entry) -> ImageFile:
        return open_image(entry, image_path)

    images = {}
    with Progress(len(first_entry), "images") as bar:
        for entry, image in _each(open_one, first_entry.values(), pool, bar, faults):
            images[entry.image] = image
            if image.is_rotated:
                summary.notes[
                    "images with an EXIF orientation, which viewers rotate: boxes and masks must "
                    "fit the pixels as stored"
                ].append(entry.image)
    return images


def _prepare_all(
    entries: Sequence[Entry],
    images: Mapping[str, ImageFile],
    folder: Path,
    masks_from_boxes: bool,
    pool: ThreadPoolExecutor,
    summary: ImportSummary,
    faults: list[str],
) -> _Prepared:
    """Prepares all entries and writes their masks; adds those that cannot be used to `faults`."""

    def prepare(entry: Entry) -> tuple[Referent, list[str]]:
        return prepare_entry(entry, images[entry.image], folder, masks_from_boxes)

    prepared = []
    with Progress(len(entries), "masks", unit="objects") as bar:
        for entry, (referent, notes) in _each(prepare, entries, pool, bar, faults):
            prepared.append((entry, referent))
            summary.masks[entry.mask_key or "filled box"] += 1
            for note in notes:
                summary.notes[note].append(entry.where)
    return prepared


def _each(
    function: Callable[[Entry], Result],
    entries: Collection[Entry],
    pool: ThreadPoolExecutor,
    bar: Progress,
    faults: list[str],
) -> Iterator[tuple[Entry, Result]]:
    """Calls a function on entries in parallel; yields (entry, result) or adds to `faults`."""

    def attempt(entry: Entry) -> Result | EntryError:
        try:
            return function(entry)
        except EntryError as error:
            return error

    results = zip(entries, pool.map(attempt, entries), strict=True)
    for done, (entry, result) in enumerate(results, start=1):
        bar.update(done)
        if isinstance(result, EntryError):
            faults.append(f"{entry.where}: key {result}")
        else:
            yield entry, result


def _divide(prepared: _Prepared, options: ImportOptions) -> dict[str, list[Referent]]:
    """Split → referents."""
    validation = _choose_validation(prepared, options.val_share)
    splits: dict[str, list[Referent]] = {}
    for entry, referent in prepared:
        default = "val" if referent.image in validation else options.split
        splits.setdefault(entry.split or default, []).append(referent)
    return splits


def _choose_validation(prepared: _Prepared, share: float) -> set[str]:
    """Chooses validation images among those that no entry assigns to a split.

    The choice depends on a hash of the name, so that it remains nearly the same when images are
    added.
    """
    assigned = {referent.image for entry, referent in prepared if entry.split}
    free = {referent.image for _, referent in prepared} - assigned
    ordered = sorted(free, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = round(share * len(ordered))
    if share and len(ordered) > 1:
        count = min(max(count, 1), len(ordered) - 1)
    return set(ordered[:count])


def _put_in_place(
    referents: Mapping[str, Sequence[Referent]],
    annotations: Path,
    masks: Path,
    staging: Path,
    image_path: Path,
) -> None:
    """Moves the new masks to their folder and writes annotation lines and config."""
    old = masks.with_name(f".{masks.name}-old-{uuid.uuid4().hex}")
    if masks.exists():
        masks.rename(old)
    staging.rename(masks)
    shutil.rmtree(old, ignore_errors=True)
    for path in annotations.glob("*.txt"):
        if path.stem not in referents:
            path.unlink()
    for split, of_split in referents.items():
        write_annotations(annotations / f"{split}.txt", of_split)
    settings = _settings(list(referents), annotations, masks, image_path)
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    write_text(annotations / "config.json", text)


def _settings(
    splits: Sequence[str], annotations: Path, masks: Path, image_path: Path
) -> dict[str, str | list[str]]:
    """The config of an imported data set; all other settings keep their defaults."""
    train = "train" if "train" in splits else splits[0]
    evaluate = next((s for s in ("val", "test", "testA") if s in splits), splits[-1])
    name = annotations.name
    return {
        "about": [f"Own data, imported as {name}."],
        "train_set": _portable(annotations / f"{train}.txt"),
        "evaluate_set": _portable(annotations / f"{evaluate}.txt"),
        "seg_gt_path": _portable(masks),
        "image_path": _portable(image_path),
        "evaluate_model": f"log/{name}/best.weights.h5",
        "log_path": f"log/{name}",
    }


def _portable(path: Path) -> str:
    """Makes a path inside the project relative to its root, all others absolute."""
    path = path.resolve()
    if path.is_relative_to(PROJECT_ROOT):
        return path.relative_to(PROJECT_ROOT).as_posix()
    return str(path)


def _listed(faults: Sequence[str]) -> str:
    lines = list(faults[:FAULTS_SHOWN])
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"… and {len(faults) - FAULTS_SHOWN:,} more")
    return f"nothing was imported because of {plural(len(faults), 'fault')}:\n  " + "\n  ".join(
        lines
    )
