"""The sets of a run, which may be several: their lines and masks, and what is left out of training.

docs/several_sets.md explains the settings.
"""

import dataclasses
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from config.schema import Config
from data.loading.annotations import Referent, image_key
from data.loading.errors import DataError
from data.loading.masks import Masks, MasksOfFolders
from data.preparation.leakage import images_of, left_out_splits
from data.preparation.manifest import open_sets
from data.preparation.wording import plural

Opened = tuple[list[Referent], Masks]


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The sets of a run.

    Attributes:
        training: referents of all training sets, one set after the other, and their masks.
        shares: number of referents and weight of each training set; empty if each referent is in
            an epoch once.
        evaluation: referents and masks of each evaluation set.
        remark: what was left out of training, for people; None if nothing was.
    """

    training: Opened
    shares: tuple[tuple[int, float], ...]
    evaluation: list[Opened]
    remark: str | None


def open_mixture(config: Config) -> Mixture:
    """Reads the lines of all sets of a config and opens their masks.

    Raises:
        DataError, OSError: lines or masks cannot be used, are of different preparations, or were
            replaced while they were read; or all referents of a training set would be left out.
    """
    folders = {
        path: config.mask_folder(path) for path in (*config.train_sets, *config.evaluate_sets)
    }
    lines: dict[str, list[Referent]] = {}
    masks: dict[str, Masks] = {}
    for folder in dict.fromkeys(folders.values()):
        paths = [path for path in folders if folders[path] == folder]
        of_paths, masks[folder] = open_sets(paths, folder)
        lines |= zip(paths, of_paths, strict=True)
    kept, remark = _without_splits(config, [lines[path] for path in config.train_sets])
    used = {path: folders[path] for path in config.train_sets}
    if len({*used.values()}) == 1:
        training = list(chain.from_iterable(kept)), masks[used[config.train_set]]
    else:
        training = _with_folders(kept, list(used.values())), MasksOfFolders(masks)
    weights = config.train_weights
    return Mixture(
        training,
        tuple(zip(map(len, kept), weights, strict=True)) if weights else (),
        [(lines[path], masks[folders[path]]) for path in config.evaluate_sets],
        remark,
    )


def _without_splits(
    config: Config, training: Sequence[list[Referent]]
) -> tuple[list[list[Referent]], str | None]:
    """Leaves out of training sets what config.leave_out_eval_images asks for.

    Returns:
        The rest of each set, and what was left out.
    """
    splits = left_out_splits(config)
    if not splits:
        return [*training], None
    evaluated = {image_key(image) for path in splits for image in images_of(path)}
    kept = [[r for r in of_set if image_key(r.image) not in evaluated] for of_set in training]
    names = ", ".join("/".join(Path(path).parts[-2:]) for path in splits)
    for path, rest in zip(config.train_sets, kept, strict=True):
        if not rest:
            raise DataError(
                f"{path}: all its images are in evaluation splits, which training leaves out "
                f"({names}); remove it from train_set, or set leave_out_eval_images to 0"
            )
    before, after = (sum(map(len, sets)) for sets in (training, kept))
    remark = f"left out of training: {before - after:,} of {plural(before, 'referent')}, "
    return kept, remark + f"whose images are in {names}"


def _with_folders(sets: Sequence[list[Referent]], folders: Sequence[str]) -> list[Referent]:
    """The referents of several sets, each of which knows the folder of its mask."""
    return [
        dataclasses.replace(referent, mask_folder=folder)
        for of_set, folder in zip(sets, folders, strict=True)
        for referent in of_set
    ]
