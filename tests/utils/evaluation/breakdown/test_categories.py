"""Which sets have COCO's categories, and their names."""

import pytest

from data.preparation.coco import COCO_CATEGORIES
from data.preparation.manifest import Manifest, write_manifests
from data.preparation.referring_sets import _COCO_CATEGORY
from utils.evaluation.breakdown.categories import category_names

IMAGES = ["COCO_train2014_000000581857.jpg", "train2014/COCO_train2014_000000000009.jpg"]
# As in the "categories" of COCO's instances files.
COCO_NAMES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign",
    14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep",
    21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 27: "backpack",
    28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove",
    41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass",
    47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza",
    60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote",
    76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink",
    82: "refrigerator", 84: "book", 85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear",
    89: "hair drier", 90: "toothbrush",
}  # fmt: skip


def names_of(folder, images=IMAGES, **manifest):
    made = {"dataset": "refcoco", "division": "unc", "raw_files": {}, "masks": False}
    write_manifests(Manifest(**(made | manifest)), {}, [folder])
    return category_names(folder / "val.txt", images)


def test_every_category_of_a_prepared_set_has_the_name_of_its_id_in_coco():
    assert {i: COCO_CATEGORIES[number] for i, number in _COCO_CATEGORY.items()} == COCO_NAMES
    assert len(COCO_CATEGORIES) == 80


@pytest.mark.parametrize("dataset", ["refcoco", "refcoco+", "refcocog", "refcoco-m"])
def test_sets_of_the_refcoco_family_have_names(tmp_path, dataset):
    assert names_of(tmp_path, dataset=dataset) == COCO_CATEGORIES


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "refclef", "division": "berkeley"},  # ReferIt has categories of its own.
        {"division": "imported"},  # Own data, also of this name, has ids of its own.
        {"images": [*IMAGES, "scene_00001.jpg"]},  # The demo set has the layout of RefCOCO.
    ],
)
def test_other_sets_have_numbers(tmp_path, other):
    assert names_of(tmp_path, **other) == ()


def test_sets_without_a_manifest_have_numbers(tmp_path):
    assert category_names(tmp_path / "val.txt", IMAGES) == ()
