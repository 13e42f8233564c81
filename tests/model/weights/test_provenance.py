"""The warning about backbones that have seen images of the evaluation sets."""

import h5py
import numpy as np
import pytest

from model.mcn import visual_backbone
from model.weights import save_weights
from model.weights.provenance import leak_warning, referring_dataset, training_set
from tests.model.weights.weight_fixtures import (
    VGG_NAMES,
    backbone_arrays,
    detector_layers,
    fresh_pair,
    write_applications_vgg,
    write_keras2,
    write_published,
    yolo_head_arrays,
)

REFCOCO = ["data/anns/refcoco/train.txt", "data/anns/refcoco/val.txt"]
OFFICIAL_YOLOV3 = 62_001_757  # values of the published file


def sparse_darknet(path, values, seen=0):
    """A Darknet file of a given length whose zeros occupy no disk space."""
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array(seen, "<i8").tobytes()
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + 4 * values)
    return path


def detector(path, classes):
    pair = fresh_pair("darknet")
    heads = yolo_head_arrays((32, 16), classes)
    return write_keras2(path, detector_layers(backbone_arrays(pair.source) + heads))


@pytest.mark.parametrize(
    ("path", "dataset"),
    [
        ("data/anns/refcoco/train.txt", "refcoco"),
        ("data/anns/refcoco+/val.txt", "refcoco+"),
        ("/disk/anns/RefCOCOg_umd/test.txt", "refcocog"),
        ("/disk/refcoco.txt", "refcoco"),
        ("data/anns/refclef/train.txt", None),
        ("/home/me/refcoco-project/data/anns/refclef/train.txt", None),
        ("/home/me/refcoco/a/b/c/demo.txt", None),
        ("data/anns/refcocox/train.txt", None),
        ("data/demo/anns/demo/train.txt", None),
    ],
)
def test_data_set_of_a_path(path, dataset):
    assert referring_dataset(path) == dataset


def test_official_yolov3(tmp_path):
    path = sparse_darknet(tmp_path / "any.weights", OFFICIAL_YOLOV3, seen=32_013_312)
    assert path.stat().st_size == 248_007_048
    warning = leak_warning(path, REFCOCO)
    for part in (str(path), "6,500", "refcoco", "--list_eval_images", "header", "coco-clean"):
        assert part in warning
    assert leak_warning(path, ["data/anns/refclef/train.txt"]) is None


def test_detector_of_cocos_classes(tmp_path):
    path = sparse_darknet(tmp_path / "own.weights", OFFICIAL_YOLOV3, seen=123)
    assert "80 classes" in leak_warning(path, REFCOCO)
    assert "80 classes" in leak_warning(detector(tmp_path / "own.h5", 80), REFCOCO)
    assert leak_warning(detector(tmp_path / "voc.h5", 20), REFCOCO) is None


def test_names_of_files(tmp_path):
    layers = detector_layers(backbone_arrays(fresh_pair("darknet").source))
    assert leak_warning(write_keras2(tmp_path / "mine.h5", layers), REFCOCO) is None
    assert "name" in leak_warning(write_keras2(tmp_path / "yolov3.h5", layers), REFCOCO)
    path = detector(tmp_path / "yolov3_finetune_refcoco(train).h5", 80)
    assert leak_warning(path, REFCOCO) is None
    assert "refcocog" in leak_warning(path, ["data/anns/refcocog/train.txt"])


def test_classifiers_do_not_warn(tmp_path):
    for values in (40_620_640, 40_620_640 + 1_025_000):
        path = sparse_darknet(tmp_path / "darknet53.conv.74", values)
        assert leak_warning(path, REFCOCO) is None
        assert training_set(path)[0] == "imagenet"
    arrays = backbone_arrays(fresh_pair("vgg").source)[: len(VGG_NAMES)]
    path = write_applications_vgg(tmp_path / "vgg16_notop.h5", arrays)
    assert leak_warning(path, REFCOCO) is None
    assert training_set(path)[0] == "imagenet"


@pytest.mark.parametrize(("mark", "warns"), [("coco", True), ("coco-clean", False), (None, False)])
def test_marks(tmp_path, mark, warns):
    path = tmp_path / "yolo.weights.h5"
    save_weights(visual_backbone(fresh_pair("darknet").source), path, trained_on=mark)
    assert (leak_warning(path, REFCOCO) is not None) is warns


def test_mark_prevails(tmp_path):
    path = detector(tmp_path / "yolov3.h5", 80)
    with h5py.File(path, "r+") as file:
        file.attrs["trained_on"] = b"coco-clean"
    assert leak_warning(path, REFCOCO) is None


def test_registered_names():
    assert training_set("imagenet")[0] == "imagenet"
    assert leak_warning("imagenet", REFCOCO) is None


def test_training_from_scratch():
    assert leak_warning("", REFCOCO) is None
    assert leak_warning(None, REFCOCO) is None


def test_released_files_are_known_by_name(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    clean = detector(folder / "darknet.h5", 80)
    assert training_set(clean) == ("coco-clean", "as released under this name")
    assert leak_warning(clean, REFCOCO) is None
    leak = detector(folder / "darknet_coco.h5", 20)
    assert "pretrained on all of COCO (as released under this name)" in leak_warning(leak, REFCOCO)
    assert leak_warning(leak, ["data/anns/refclef/train.txt"]) is None
    trained = write_published(folder / "mcn_refcoco+_darknet.h5", fresh_pair("darknet").source)
    assert "refcocog" in leak_warning(trained, ["data/anns/refcocog/train.txt"])
    # The same name in another folder says nothing.
    assert "80 classes" in leak_warning(detector(tmp_path / "darknet.h5", 80), REFCOCO)
