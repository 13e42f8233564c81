"""Leakage: images of training sets in evaluation sets, also of other data sets."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from config.command_line import counted
from config.errors import UserError
from config.files import check_folder, write_text
from config.schema import Config
from data.loading.annotations import image_key, read_annotations
from data.preparation.sidecars.no_target import read_no_target
from data.preparation.wording import plural


def images_of(path: str | os.PathLike) -> set[str]:
    """Names of the images of an evaluation set, also those of expressions without a target.

    Raises:
        OSError, DataError: the annotation file or the one beside it cannot be read.
    """
    without_target = {entry.image for entry in read_no_target(path) or ()}
    return _images_of_lines(path) | without_target


def _images_of_lines(path: str | os.PathLike) -> set[str]:
    return {referent.image for referent in read_annotations(path)}


def left_out_splits(config: Config) -> list[str]:
    """The annotation files whose images are left out of training, sorted.

    They are the evaluation sets and all other splits beside the sets of a config whose names do
    not begin with "train": the test splits of one data set can be in the training set of another.

    Args:
        config: says by `leave_out_eval_images` whether there are any.
    """
    several = bool(config.also_train)
    if not (several if config.leave_out_eval_images < 0 else config.leave_out_eval_images):
        return []
    folders = {Path(path).parent for path in (*config.train_sets, *config.evaluate_sets)}
    beside = {str(path) for folder in folders for path in folder.glob("*.txt")}
    others = {path for path in beside if not Path(path).stem.startswith("train")}
    return sorted((others - {*config.train_sets}) | {*config.evaluate_sets})


def shared_images(first: Iterable[str], second: Iterable[str]) -> list[str]:
    """Names of the images of the second set that are in the first one as well, sorted.

    Images of COCO are recognized by their id, whatever the year of COCO in their names.
    """
    keys = {image_key(name) for name in first}
    return sorted({name for name in second if image_key(name) in keys})


def report_shared_images(
    train_sets: Sequence[str | os.PathLike], evaluate_sets: Sequence[str | os.PathLike]
) -> list[str]:
    """Prints how many images training sets share with evaluation sets, and the first few of them.

    Args:
        train_sets, evaluate_sets: annotation files, of any data sets.

    Returns:
        All of these images by their names in the evaluation sets, sorted.

    Raises:
        OSError, DataError: a file cannot be read.
    """
    training = {str(path): _images_of_lines(path) for path in train_sets}
    leaking, found = 0, set[str]()
    for path in dict.fromkeys(map(str, evaluate_sets)):
        images = images_of(path)
        print(f"{path}: {plural(len(images), 'image')}")
        for train_path, train_images in training.items():
            shared = shared_images(train_images, images)
            print(f"  in {train_path}: {counted(shared) if shared else 'none'}")
        pooled = shared_images(set().union(*training.values()), images)
        if len(training) > 1:
            print(f"  in any of them: {len(pooled):,}")
        leaking += bool(pooled)
        found.update(pooled)
    print(f"\n{plural(leaking, 'evaluation set')} with images of a training set")
    return sorted(found)


def write_image_list(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Writes names of images to a new file, one per line.

    Raises:
        UserError: the file exists.
        NoSpaceError, OSError: it cannot be written.
    """
    check_new(path)
    write_text(path, "".join(f"{name}\n" for name in names))


def check_new(path: str | os.PathLike) -> None:
    """Raises `UserError` if a file exists already, or its folder cannot be written to."""
    check_folder(Path(path).parent)
    if os.path.lexists(path):
        raise UserError(f"{path}: exists already; name another file")
