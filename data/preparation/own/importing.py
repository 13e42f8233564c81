"""Import of own data: entries → anns/<name>/ and masks/<name>/, all of them or nothing."""

import collections
import hashlib
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from config.errors import UserError
from config.files import bytes_text, check_free_space
from data.loading.annotations import Referent, write_annotations
from data.loading.masks import write_masks
from data.preparation.json_fields import EntryError
from data.preparation.manifest import is_as_written, replaced_files_of_others, write_manifests
from data.preparation.own.entries import Entry, OwnData
from data.preparation.own.objects import ImageFile, open_image, prepare_entry
from data.preparation.own.writing import (
    check_replaceable,
    own_manifest,
    write_config,
)
from data.preparation.segmentation import estimated_bytes
from data.preparation.sidecars.ids import SAMPLE_ID, ReferentIds, write_ids
from data.preparation.wording import plural
from data.support.progress import Progress
from data.support.staging import replaced_together
from data.support.threads import thread_pool

FAULTS_SHOWN = 20
BYTES_PER_LINE = 100  # For the estimate of the space: the name of the image, numbers, punctuation.

Result = TypeVar("Result")


class ImportRefusedError(UserError):
    """The data cannot be imported, and nothing was written; the message lists all faults."""


@dataclass(frozen=True)
class ImportOptions:
    """Choices for an import.

    Attributes:
        split: split of entries that name none.
        val_share: share of the images without a split that is assigned to the split "val".
        masks_from_boxes: whether to fill the box of an entry that has no mask.
        overwrite: whether to replace an earlier import of the same name.
        settings: further settings for config.json, such as those of a run to fine-tune.
    """

    split: str = "train"
    val_share: float = 0.0
    masks_from_boxes: bool = False
    overwrite: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class ImportSummary:
    """What an import did.

    Attributes:
        referents: split → referents, in the order of the input.
        masks: kind of mask → number of them.
        notes: what was changed or is odd → where.
        kept_files: files of the user, or changed by the user, that had the names of new files;
            they were kept under other names.
    """

    referents: dict[str, list[Referent]] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=collections.Counter)
    notes: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    kept_files: list[str] = field(default_factory=list)


def import_data(
    data: OwnData,
    image_path: str | os.PathLike,
    output: str | os.PathLike,
    name: str,
    options: ImportOptions | None = None,
    workers: int = 8,
) -> ImportSummary:
    """Writes the annotation lines, masks and config.json of a data set, or nothing at all.

    The new set is complete before it replaces an earlier one. Files that the import did not write,
    and those that were changed since, are kept.

    Args:
        data: entries and faults, from `read_json_lines` or `read_coco_entries`.
        image_path: folder that contains the images.
        output: folder to write anns/<name> and masks/<name> to.
        name: name of the data set.
        options: choices; None: the defaults.
        workers: images and masks to open in parallel.

    Raises:
        ImportRefusedError: there are faults or no objects.
        UserError: a folder exists already and must not be replaced, another process is writing it,
            or a path cannot be stored.
        NoSpaceError: the disk is too full.
    """
    options = options or ImportOptions()
    annotations, masks = Path(output) / "anns" / name, Path(output) / "masks" / name
    image_path = Path(image_path)
    with replaced_together(annotations, masks, is_ours=is_as_written) as new:
        new_annotations, new_masks = new
        check_replaceable(annotations, masks, options.overwrite)
        with thread_pool(workers) as pool:
            run = _Import(data, options, pool, workers)
            images = run.open_images(image_path)
            needed = _needed_bytes(data.entries, images)
            print(f"the import of {name} needs about {bytes_text(needed)} in {output}")
            remedy = "free some space or choose another --output"
            check_free_space(output, needed, f"the import of {name}", remedy)
            write_masks(new_masks, run.prepare(images))
        run.divide()
        run.refuse_faults()
        for split, referents in run.summary.referents.items():
            write_annotations(new_annotations / f"{split}.txt", referents)
        if ids := run.ids():
            write_ids(new_annotations, ids)
        splits = list(run.summary.referents)
        write_config(new_annotations, splits, annotations, masks, image_path, options.settings)
        write_manifests(own_manifest(name, data.inputs, new_masks), run.summary.referents, new)
        kept = replaced_files_of_others((annotations, masks), new)
        run.summary.kept_files = [str(path) for path in kept]
    return run.summary


class _Import:
    """What an import has found so far.

    Args:
        data: entries and faults.
        options: choices.
        pool: threads that open images and make masks.
        ahead: results to compute before they are needed; each may hold a mask.
    """

    def __init__(
        self, data: OwnData, options: ImportOptions, pool: ThreadPoolExecutor, ahead: int
    ) -> None:
        self.entries, self.faults = data.entries, list(data.faults)
        self.options, self.pool, self.ahead = options, pool, ahead
        self.summary = ImportSummary()
        self._prepared: list[tuple[Entry, Referent]] = []

    def open_images(self, image_path: Path) -> dict[str, ImageFile]:
        """Image as written → `ImageFile`; images that cannot be opened are faults."""
        first_entry: dict[str, Entry] = {}
        for entry in self.entries:
            first_entry.setdefault(entry.image, entry)

        def open_one(entry: Entry) -> ImageFile:
            return open_image(entry, image_path)

        images = {}
        with Progress(len(first_entry), "images") as bar:
            for entry, image in self._each(open_one, first_entry.values(), bar):
                images[entry.image] = image
                if image.is_rotated:
                    self.summary.notes[
                        "images with an EXIF orientation, which viewers rotate: boxes and masks "
                        "must fit the pixels as stored"
                    ].append(entry.image)
                if image.conversion:
                    note = f"images that training converts as it reads them: {image.conversion}"
                    self.summary.notes[note].append(entry.image)
        return images

    def prepare(self, images: Mapping[str, ImageFile]) -> Iterator[tuple[int, np.ndarray]]:
        """Prepares the entries whose image was opened; those that cannot be used are faults.

        Yields:
            Id and mask, uint8 (height, width) of 0 and 1, of each.
        """

        def prepare_one(entry: Entry) -> tuple[Referent, np.ndarray, list[str]]:
            return prepare_entry(entry, images[entry.image], self.options.masks_from_boxes)

        seen = set()
        entries = [entry for entry in self.entries if entry.image in images]
        with Progress(len(entries), "masks", unit="objects") as bar:
            for entry, (referent, mask, notes) in self._each(prepare_one, entries, bar):
                self._prepared.append((entry, referent))
                self.summary.masks[entry.mask_key or "filled box"] += 1
                what = (referent.image, referent.box_xyxy_px, referent.expressions)
                if what in seen:
                    notes.append("objects with the image, box and expressions of an earlier one")
                seen.add(what)
                for note in notes:
                    self.summary.notes[note].append(entry.where)
                yield referent.mask_id, mask

    def ids(self) -> list[ReferentIds]:
        """The ids of the prepared entries that have one."""
        return [
            ReferentIds(entry.mask_id, (), ((entry.sample_id, referent.expressions[0]),), SAMPLE_ID)
            for entry, referent in self._prepared
            if entry.sample_id is not None
        ]

    def divide(self) -> None:
        """Assigns the prepared entries to splits.

        Names of splits that differ only in case are faults, and so are ids that occur twice.
        """
        by_id: dict[int, str] = {}
        for entry, _ in self._prepared:
            if entry.sample_id is not None:
                where = by_id.setdefault(entry.sample_id, entry.where)
                if where != entry.where:
                    self.faults.append(
                        f"{entry.where}: key 'id' is {entry.sample_id}, and so is that of {where}; "
                        "make the ids unique"
                    )
        validation = _choose_validation(self._prepared, self.options.val_share)
        first: dict[str, tuple[str, str]] = {}
        for entry, referent in self._prepared:
            split = entry.split or ("val" if referent.image in validation else self.options.split)
            same, where = first.setdefault(split.casefold(), (split, entry.where))
            if same != split:
                self.faults.append(
                    f"{entry.where}: key 'split' is {split}, and in {where} it is {same}; some "
                    "file systems do not distinguish the two: use one spelling"
                )
            self.summary.referents.setdefault(split, []).append(referent)

    def refuse_faults(self) -> None:
        """Raises `ImportRefusedError` if there are faults or no objects."""
        if not self.faults and not self._prepared:
            self.faults.append("there is no object to import")
        if self.faults:
            raise ImportRefusedError(_listed(self.faults))

    def _each(
        self, function: Callable[[Entry], Result], entries: Collection[Entry], bar: Progress
    ) -> Iterator[tuple[Entry, Result]]:
        """Calls a function on entries in parallel; yields (entry, result) or adds to the faults."""

        def attempt(entry: Entry) -> Result | EntryError:
            try:
                return function(entry)
            except EntryError as error:
                return error

        for done, (entry, future) in enumerate(self._submitted(attempt, entries), start=1):
            result = future.result()
            bar.update(done)
            if isinstance(result, EntryError):
                self.faults.append(f"{entry.where}: key {result}")
            else:
                yield entry, result

    def _submitted(
        self, function: Callable[[Entry], Result], entries: Iterable[Entry]
    ) -> Iterator[tuple[Entry, Future[Result]]]:
        """Submits a function for entries, few ahead of the one that is yielded."""
        pending: collections.deque[tuple[Entry, Future[Result]]] = collections.deque()
        waiting = iter(entries)
        while True:
            for entry in itertools.islice(waiting, self.ahead - len(pending)):
                pending.append((entry, self.pool.submit(function, entry)))
            if not pending:
                return
            yield pending.popleft()


def _needed_bytes(entries: Iterable[Entry], images: Mapping[str, ImageFile]) -> int:
    """Estimates the size of lines and masks, rather too large than too small."""
    needed = 0
    for entry in entries:
        if entry.image in images:
            needed += BYTES_PER_LINE + sum(len(text.encode()) + 3 for text in entry.expressions)
            needed += estimated_bytes(entry.mask, images[entry.image].width)
    return needed


def _choose_validation(prepared: Sequence[tuple[Entry, Referent]], share: float) -> set[str]:
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


def _listed(faults: Sequence[str]) -> str:
    lines = list(faults[:FAULTS_SHOWN])
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"… and {len(faults) - FAULTS_SHOWN:,} more")
    return f"nothing was imported because of {plural(len(faults), 'fault')}:\n  " + "\n  ".join(
        lines
    )
