"""Entries of own data → anns/<name>/ and masks/<name>/, all of them or nothing."""

import collections
import hashlib
import json
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from config.errors import UserError
from config.files import written_atomically
from config.schema import PROJECT_ROOT
from data.loading.annotations import Referent, write_annotations
from data.preparation.own_entries import Entry, EntryError
from data.preparation.own_objects import look_at_image, prepare_entry
from data.support.progress import Progress

SHOWN_FAULTS = 20


class ImportRefusedError(UserError):
    """Data that cannot be imported; the message lists what is wrong. Nothing was written."""


@dataclass
class Summary:
    """What an import did.

    Attributes:
        referents: split → referents, in the order of the input.
        masks: sort of mask → how many.
        noted: what was changed or is odd → where.
    """

    referents: dict[str, list[Referent]] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=collections.Counter)
    noted: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))


def import_entries(
    entries: list[Entry],
    image_path: Path,
    output: Path,
    name: str,
    *,
    split: str = "train",
    val_share: float = 0.0,
    masks_from_boxes: bool = False,
    overwrite: bool = False,
    faults: list[str] | None = None,
    workers: int = 8,
) -> Summary:
    """Writes lines, masks and config.json of a data set, or nothing at all.

    Args:
        entries: of `data.preparation.own_entries`.
        image_path: folder that the images lie below.
        output: folder for anns/<name> and masks/<name>.
        split: of entries that name none.
        val_share: share of the images of such entries that goes to split "val" instead.
        masks_from_boxes: fill the box where an entry has no mask.
        overwrite: replace a data set of this name.
        faults: what was wrong with the input so far.
        workers: images and masks opened in parallel.

    Raises:
        ImportRefusedError: there are faults, or a data set of this name is there.
    """
    summary, faults = Summary(), list(faults or [])
    folders = (Path(output) / "anns" / name, Path(output) / "masks" / name)
    for folder in folders:
        if folder.exists() and not overwrite:
            raise ImportRefusedError(f"{folder} is there already: --overwrite replaces it")
    staging = folders[1].with_name(f".{name}-{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        pool = ThreadPoolExecutor(workers)
        try:
            images = _look_at_images(entries, Path(image_path), pool, summary, faults)
            entries = [entry for entry in entries if entry.image in images]
            prepared = _prepare_all(
                entries, images, staging, masks_from_boxes, pool, summary, faults
            )
        finally:
            # After an interruption what waits would otherwise be done first.
            pool.shutdown(cancel_futures=True)
        if not faults and not prepared:
            faults.append("there is no object to import")
        if faults:
            raise ImportRefusedError(_listed(faults))
        validation = _choose_validation(prepared, val_share)
        for entry, referent in prepared:
            chosen = entry.split or ("val" if referent.image in validation else split)
            summary.referents.setdefault(chosen, []).append(referent)
        _put_in_place(summary, *folders, staging, Path(image_path))
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return summary


def _look_at_images(entries, image_path, pool, summary, faults):
    """Image as entries name it → `ImageFile`; those that cannot be opened are faults."""
    firsts = {}
    for entry in entries:
        firsts.setdefault(entry.image, entry)
    found = {}
    with Progress(len(firsts), "images") as bar:
        looks = pool.map(lambda entry: _attempt(look_at_image, entry, image_path), firsts.values())
        for done, (name, (image, fault)) in enumerate(zip(firsts, looks, strict=True), start=1):
            bar.update(done)
            if fault:
                faults.append(fault)
                continue
            found[name] = image
            if image.is_turned:
                summary.noted[
                    "images that programs show turned (EXIF orientation): boxes and masks are "
                    "taken for the pixels as stored"
                ].append(name)
    return found


def _prepare_all(entries, images, folder, masks_from_boxes, pool, summary, faults):
    """[(entry, `Referent`)]; the masks are written into `folder`."""

    def prepare(entry):
        return _attempt(prepare_entry, entry, images[entry.image], folder, masks_from_boxes)

    prepared = []
    with Progress(len(entries), "masks", unit="objects") as bar:
        for done, (entry, (result, fault)) in enumerate(
            zip(entries, pool.map(prepare, entries), strict=True), start=1
        ):
            bar.update(done)
            if fault:
                faults.append(fault)
                continue
            referent, notes = result
            prepared.append((entry, referent))
            summary.masks[entry.mask_key or "filled box"] += 1
            for note in notes:
                summary.noted[note].append(entry.where)
    return prepared


def _attempt(function, entry, *arguments):
    """(result, None), or (None, what is wrong with the entry and where)."""
    try:
        return function(entry, *arguments), None
    except EntryError as fault:
        return None, f"{entry.where}: key {fault}"


def _choose_validation(prepared, share):
    """Names of the images, among those whose entries all name no split, that are set aside.

    A checksum of the name decides, so that more images leave the choice among the old ones much
    as it was.
    """
    named = {referent.image for entry, referent in prepared if entry.split}
    free = {referent.image for _, referent in prepared} - named
    ordered = sorted(free, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = round(share * len(ordered))
    if share and len(ordered) > 1:
        count = min(max(count, 1), len(ordered) - 1)
    return set(ordered[:count])


def _put_in_place(summary, annotations, masks, staging, image_path):
    """Moves the new masks to where they belong and writes lines and config."""
    old = masks.with_name(f".{masks.name}-old-{uuid.uuid4().hex}")
    if masks.exists():
        masks.rename(old)
    staging.rename(masks)
    shutil.rmtree(old, ignore_errors=True)
    for path in annotations.glob("*.txt"):
        if path.stem not in summary.referents:
            path.unlink()
    for split, referents in summary.referents.items():
        write_annotations(annotations / f"{split}.txt", referents)
    splits = list(summary.referents)
    train = "train" if "train" in splits else splits[0]
    evaluate = next((s for s in ("val", "test", "testA") if s in splits), splits[-1])
    settings = {
        "about": [f"Own data, imported as {annotations.name}."],
        "train_set": _as_setting(annotations / f"{train}.txt"),
        "evaluate_set": _as_setting(annotations / f"{evaluate}.txt"),
        "seg_gt_path": _as_setting(masks),
        "image_path": _as_setting(image_path),
        "evaluate_model": f"log/{annotations.name}/best.weights.h5",
        "log_path": f"log/{annotations.name}",
    }
    with written_atomically(annotations / "config.json") as file:
        file.write((json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode())


def _as_setting(path):
    """A path as a config holds it: below the project without the project's own folder."""
    path = Path(path).resolve()
    return (
        path.relative_to(PROJECT_ROOT).as_posix()
        if path.is_relative_to(PROJECT_ROOT)
        else str(path)
    )


def _listed(faults):
    shown = [*faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        shown.append(f"… and {len(faults) - SHOWN_FAULTS:,} more")
    return f"nothing was imported, {len(faults):,} faults:\n  " + "\n  ".join(shown)
