"""What weights were trained on, and the warning about weights that inflate an evaluation.

All images of RefCOCO, RefCOCO+ and RefCOCOg, including those of the val and test sets, come from
COCO train2014. The backbones of the paper were pretrained on COCO without the images of their val
and test sets; a backbone that has seen these inflates the scores (data leakage).

A weight file stores what it was trained on in its attribute `trained_on`: "coco" for all of COCO,
"coco-clean" for COCO without those images, "imagenet", or any other text.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from config.run_files.released import COCO, COCO_CLEAN, released_of
from model.weights.darknet import COCO_CLASSES
from model.weights.hdf5.content import is_name
from model.weights.inspection import describe
from model.weights.layouts import NETWORK

REFCOCO_TRAIN = "refcoco-train"
DATASET = re.compile(r"(refcoco(?:\+|g)?)(?![a-z+])")


def leak_warning(
    weights: str | os.PathLike | None, sets: Iterable[str | os.PathLike]
) -> str | None:
    """The warning about weights that have seen images of the evaluation sets.

    Args:
        weights: the file or registered name that a training starts from; empty or None if it
            starts from scratch.
        sets: paths of annotation files, such as the values of the config keys train_set and
            evaluate_set; their folders identify the data set.

    Returns:
        One or several sentences, or None if no leakage is known.

    Raises:
        WeightsError: the file is not a weight file.
    """
    datasets = sorted({name for name in map(referring_dataset, sets) if name is not None})
    if not weights or not datasets:
        return None
    names = " and ".join(datasets)
    origin, reason = training_set(weights)
    if origin == REFCOCO_TRAIN:
        if "refcocog" not in datasets:
            return None
        return (
            f"{weights}: was trained on the train set of RefCOCO ({reason}), which contains images "
            "of the val and test sets of refcocog, so scores on those are inflated."
        )
    if origin != COCO:
        return None
    return (
        f"{weights}: was pretrained on all of COCO ({reason}), including about 6,500 images of the "
        f"val and test sets of RefCOCO, RefCOCO+ and RefCOCOg, so scores on {names} are inflated "
        "and not comparable to published ones. Pretrain without the images that "
        "`python data/data_process.py --list_eval_images` lists. If this file was trained without "
        f"them, mark it: `python -m model.weights convert {weights} OUT --trained_on {COCO_CLEAN}`."
    )


def training_set(weights: str | os.PathLike) -> tuple[str | None, str]:
    """What weights were trained on, and how that is known.

    The files that `data/download.py` fetches are known by their names. Another detector of
    COCO's 80 classes counts as trained on all of COCO unless its file is marked, because the file
    itself does not tell.

    Args:
        weights: a file, or a registered name such as "imagenet".

    Returns:
        (text as in the attribute `trained_on`, reason), or (None, "") if nothing is known.

    Raises:
        WeightsError: the file is not a weight file.
    """
    if is_name(weights):
        return str(weights), "the name of these weights"
    description = describe(weights)
    if description.trained_on is not None:
        return description.trained_on, description.reason
    released = released_of(weights)
    if released is not None and released.part != NETWORK:
        return released.trained_on, "as released under this name"
    name = Path(weights).name.lower()
    if released is not None and released.trained_on in ("refcoco", "refcoco+"):
        return REFCOCO_TRAIN, "according to its name"
    if re.search(r"finetuned?[_ ]*(on[_ ]*)?refcoco", name):
        return REFCOCO_TRAIN, "according to its name"
    if description.classes == COCO_CLASSES:
        return COCO, "it is a detector of COCO's 80 classes without a mark that says otherwise"
    if description.classes is None and re.match(r"yolo[_-]?v3", name):
        return COCO, "according to its name"
    return None, ""


def referring_dataset(path: str | os.PathLike) -> str | None:
    """The data set of an annotation file: "refcoco", "refcoco+", "refcocog" or None.

    Only the folders below the last one named anns count, or else the last three parts of the
    path, so that a folder further up may be named after a data set.
    """
    parts = [part.lower() for part in Path(path).parts]
    if "anns" in parts:
        parts = parts[len(parts) - parts[::-1].index("anns") :]
    for part in parts[-3:]:
        match = DATASET.match(part)
        if match:
            return match[1]
    return None
