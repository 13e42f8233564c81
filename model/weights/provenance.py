"""What weights were trained on, and the warning where that spoils an evaluation.

The images of RefCOCO, RefCOCO+ and RefCOCOg, those to evaluate on included, come from COCO's
train2014. The backbones of the paper were pretrained on COCO without the images of their val and
test sets; a backbone that has seen these gives figures that are too good.

What a file was trained on is kept in its attribute `trained_on`: "coco" for all of COCO,
"coco-clean" for COCO without those images, "imagenet", or any other text.
"""

import re
from pathlib import Path

from model.weights.darknet_backbone import COCO_CLASSES
from model.weights.inspection import describe

COCO, COCO_CLEAN, REFCOCO_TRAIN = "coco", "coco-clean", "refcoco-train"
DATASET = re.compile(r"(refcoco(?:\+|g)?)(?![a-z+])")


def leak_warning(weights, sets):
    """The warning for weights that have seen images of the sets to evaluate on.

    Args:
        weights: the file that a training starts from; empty or None for none.
        sets: paths of annotations, as the config keys train_set and evaluate_set; the data set is
            told by their folder.

    Returns:
        Text, or None if nothing is known against the file.

    Raises:
        WeightsError: the file is no weight file.
    """
    datasets = sorted({referring_dataset(path) for path in sets} - {None})
    if not weights or not datasets:
        return None
    names = " and ".join(datasets)
    origin, reason = training_set(weights)
    if origin == REFCOCO_TRAIN:
        if "refcocog" not in datasets:
            return None
        return (
            f"{weights}: was trained on RefCOCO's train set ({reason}), which holds images of "
            "refcocog's val and test sets: figures on those will be too good."
        )
    if origin != COCO:
        return None
    return (
        f"{weights}: pretrained on all of COCO ({reason}). About 6,500 images of the val and test "
        f"sets of RefCOCO, RefCOCO+ and RefCOCOg are among them, so that figures on {names} will "
        "be too good and cannot be compared with published ones. Pretrain without the images that "
        "`python data/data_process.py --list_eval_images` lists. If the file was trained so, mark "
        f"it: `python -m model.weights convert {weights} OUT --trained_on {COCO_CLEAN}`."
    )


def training_set(weights):
    """What weights were trained on and how that is known.

    Returns:
        (text as in the attribute `trained_on`, reason), or (None, "") if nothing is known. A
        detector of COCO's 80 classes counts as trained on all of COCO until a mark says
        otherwise, since its file does not tell.
    """
    found = describe(weights)
    if found.trained_on is not None:
        return found.trained_on, found.reason
    name = Path(weights).name.lower()
    if re.search(r"finetuned?[_ ]*(on[_ ]*)?refcoco", name):
        return REFCOCO_TRAIN, "as its name says"
    if found.classes == COCO_CLASSES:
        return COCO, "it is a detector of COCO's 80 classes and is not marked as anything else"
    if found.classes is None and re.match(r"yolo[_-]?v3", name):
        return COCO, "as its name says"
    return None, ""


def referring_dataset(path):
    """ "refcoco", "refcoco+" or "refcocog" if annotations belong to one of them, otherwise None.

    Looks behind the last folder named anns, or at the last three parts of the path, so that the
    folder of a project may be named after a data set.
    """
    parts = [part.lower() for part in Path(path).parts]
    if "anns" in parts:
        parts = parts[len(parts) - parts[::-1].index("anns") :]
    for part in parts[-3:]:
        match = DATASET.match(part)
        if match:
            return match[1]
    return None
