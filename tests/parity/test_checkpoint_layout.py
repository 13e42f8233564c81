"""The order in which published files are read is that of the published manifests."""

import keras
import numpy as np
import pytest

from model.weights.darknet import BACKBONE_VALUES, TRUNK_VALUES, DarknetFile, match_darknet
from model.weights.hdf5.content import open_hdf5
from model.weights.hdf5.layers import read_layers
from model.weights.keras_backbone import match_keras_backbone
from model.weights.layouts import backbone_slots, mcn_slots
from tests.parity.published import manifest

pytestmark = pytest.mark.slow

KINDS = {"Conv2D": "conv", "BatchNormalization": "bn", "Dense": "dense", "Bidirectional": "rnn"}


def test_slots_are_the_layers_of_the_manifest(published):
    layers = [layer for layer in manifest(published.backbone)["layers"] if layer["weights"]]
    slots = mcn_slots(published.model)
    assert len(slots) == len(layers)
    for slot, layer in zip(slots, layers, strict=True):
        expected = [tuple(weight["shape"]) for weight in layer["weights"]]
        assert (slot.kind, slot.shapes()) == (KINDS[layer["class"]], expected), layer["layer_name"]


def test_every_variable_has_one_slot(published):
    slots = mcn_slots(published.model)
    targets = [id(v) for slot in slots for variables in slot.targets for v in variables]
    assert len(targets) == len(set(targets)) == len(published.model.weights)


def test_backbone_slots_are_numbered_as_in_the_manifest(published):
    slots = backbone_slots(published.model)
    layers = {layer["layer_name"]: layer for layer in manifest(published.backbone)["layers"]}
    for kind, name in (("conv", "conv2d"), ("bn", "batch_normalization")):
        for number, slot in enumerate((s for s in slots if s.kind == kind), start=1):
            expected = [tuple(w["shape"]) for w in layers[f"{name}_{number}"]["weights"]]
            assert slot.shapes() == expected


def test_lengths_of_full_size_darknet_files(published):
    slots = backbone_slots(published.model)
    sizes = [sum(int(np.prod(shape)) for shape in slot.shapes()) for slot in slots]
    assert sum(sizes) == BACKBONE_VALUES[published.backbone]
    assert sum(sizes[:-12]) == TRUNK_VALUES[published.backbone]
    # Six convolutions with BatchNorm follow the trunk.
    assert [slot.in_trunk for slot in slots] == [True] * (len(slots) - 12) + [False] * 12


def test_public_files_fit(published, tmp_path):
    """The official YOLOv3 for Darknet-53, VGG-16 of Keras Applications for VGG."""
    check = {"darknet": official_yolov3_fits, "vgg": vgg16_of_keras_applications_fits}
    check[published.backbone](published.model, tmp_path)


def official_yolov3_fits(model, _):
    # 62,001,757 values, without reading or storing any.
    values = np.lib.stride_tricks.as_strided(np.zeros(1, "f4"), (62_001_757,), (0,))
    file = DarknetFile("yolov3.weights", (0, 2, 0), 32_013_312, values)
    match = match_darknet(model, file)
    slots = backbone_slots(model)
    assert len(slots) == 2 * 58
    assert {t.layer for t in match.transfers} == {slot.layer for slot in slots}
    assert [int(name.split()[1]) for name in match.unused] == list(range(59, 76))


def vgg16_of_keras_applications_fits(model, folder):
    path = folder / "vgg.weights.h5"
    keras.applications.VGG16(weights=None, include_top=False).save_weights(path)
    with open_hdf5(path) as file:
        match = match_keras_backbone(model, read_layers(file, path), path)
        layers = [transfer.layer for transfer in match.transfers[::2]]
        assert layers == [f"backbone_{n}_conv" for n in range(1, 14)]
        assert sum(t.array.size for t in match.transfers) == TRUNK_VALUES["vgg"]
    assert match.unused == []
    assert len(match.notes) == 1
