"""The order in which published files are read is that of the published manifests."""

import keras
import numpy as np
import pytest

from model.weights.darknet import BACKBONE_VALUES, TRUNK_VALUES, DarknetFile
from model.weights.darknet_backbone import darknet_backbone_transfers
from model.weights.hdf5 import open_hdf5, read_layers
from model.weights.keras_backbone import keras_backbone_transfers
from model.weights.layouts import backbone_slots, mcn_slots
from tests.parity.published import manifest

pytestmark = pytest.mark.slow

KINDS = {"Conv2D": "conv", "BatchNormalization": "bn", "Dense": "dense", "Bidirectional": "rnn"}


def test_slots_are_the_layers_of_the_manifest(published):
    layers = [layer for layer in manifest(published.backbone)["layers"] if layer["weights"]]
    slots = mcn_slots(published.model, published.backbone)
    assert len(slots) == len(layers)
    for slot, layer in zip(slots, layers, strict=True):
        expected = [tuple(weight["shape"]) for weight in layer["weights"]]
        assert (slot.kind, slot.shapes()) == (KINDS[layer["class"]], expected), layer["layer_name"]


def test_every_variable_has_one_slot(published):
    slots = mcn_slots(published.model, published.backbone)
    targets = [id(v) for slot in slots for variables in slot.targets for v in variables]
    assert len(targets) == len(set(targets)) == len(published.model.weights)


def test_backbone_slots_are_numbered_as_in_the_manifest(published):
    slots = backbone_slots(published.model, published.backbone)
    layers = {layer["layer_name"]: layer for layer in manifest(published.backbone)["layers"]}
    for kind, name in (("conv", "conv2d"), ("bn", "batch_normalization")):
        for number, slot in enumerate((s for s in slots if s.kind == kind), start=1):
            expected = [tuple(w["shape"]) for w in layers[f"{name}_{number}"]["weights"]]
            assert slot.shapes() == expected


def test_lengths_of_full_size_darknet_files(published):
    slots = backbone_slots(published.model, published.backbone)
    sizes = [sum(int(np.prod(shape)) for shape in slot.shapes()) for slot in slots]
    tail = sum(sizes[-12:])
    assert sum(sizes) == BACKBONE_VALUES[published.backbone]
    assert sum(sizes) - tail == TRUNK_VALUES[published.backbone]


def test_what_people_have_fits(published, tmp_path):
    """The official YOLOv3 for Darknet-53, VGG-16 of Keras Applications for VGG."""
    slots = backbone_slots(published.model, published.backbone)
    check = {"darknet": official_yolov3_fits, "vgg": vgg16_of_keras_applications_fits}
    check[published.backbone](slots, tmp_path)


def official_yolov3_fits(slots, _):
    # 62,001,757 values, without reading or holding any.
    values = np.lib.stride_tricks.as_strided(np.zeros(1, "f4"), (62_001_757,), (0,))
    file = DarknetFile("yolov3.weights", (0, 2, 0), 32_013_312, values)
    transfers, unused, _ = darknet_backbone_transfers(slots, file, "darknet", (512, 256))
    assert len(slots) == 2 * 58
    assert {t.layer for t in transfers} == {slot.layer for slot in slots}
    assert [int(name.split()[1]) for name in unused] == list(range(59, 76))


def vgg16_of_keras_applications_fits(slots, folder):
    path = folder / "vgg.weights.h5"
    keras.applications.VGG16(weights=None, include_top=False).save_weights(path)
    with open_hdf5(path) as file:
        layers = read_layers(file, path)
        transfers, unused, notes = keras_backbone_transfers(slots, layers, "vgg", path)
        assert [t.layer for t in transfers[::2]] == [f"backbone_{n}_conv" for n in range(1, 14)]
        assert sum(t.array.size for t in transfers) == TRUNK_VALUES["vgg"]
    assert unused == []
    assert len(notes) == 1
