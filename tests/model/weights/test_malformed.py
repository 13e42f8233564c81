"""HDF5 files with groups, arrays or attributes unlike those of weights: each has its message."""

import h5py
import numpy as np
import pytest

from model.weights import WeightsError, load_pretrained, load_weights, save_weights
from model.weights.inspection import describe
from tests.model.weights.weight_fixtures import (
    backbone_arrays,
    detector_layers,
    edited,
    refused,
    write_copy,
    write_keras2,
    write_published,
)

pytestmark = pytest.mark.slow


def to_array(path):
    return replaced(path, np.ones(3, "f4"))


def replaced(path, values):
    def change(file):
        del file[path]
        file[path] = values

    return change


def to_group(path):
    def change(file):
        del file[path]
        file.create_group(path)

    return change


def removed(path):
    return lambda file: file.__delitem__(path)


def attribute(path, name, value):
    def change(file):
        file[path].attrs[name] = value

    return change


def recurrent_kernel_without_units(file):
    """Of one direction: kernel, recurrent kernel and bias."""
    layers = [group for group in file["layers"].values() if "forward_layer" in group]
    arrays = layers[0]["forward_layer/cell/vars"]
    for key, shape in {"0": (8, 0), "1": (0, 0), "2": (2, 0)}.items():
        del arrays[key]
        arrays[key] = np.ones(shape, "f4")


def published_kernel_without_units(file):
    group = file["bidirectional_1/bidirectional_1"]
    for key in list(group):
        shape = [0 if size > 2 else size for size in group[key].shape]
        del group[key]
        group[key] = np.ones(shape, "f4")


VARS, FIRST = "layers/conv2d/vars", "conv2d_1/conv2d_1"
KERNEL = f"{FIRST}/kernel:0"
NO_UNITS = np.ones((3, 3, 3, 0), "f4")
NATIVE = [
    (to_array("layers"), "/layers is an array, not a group"),
    (to_array("layers/conv2d"), "/layers/conv2d is an array, not a group"),
    (to_array(VARS), f"/{VARS} is an array, not a group"),
    (to_group(f"{VARS}/0"), f"/{VARS}/0 is not an array, or an empty one"),
    (replaced(f"{VARS}/0", NO_UNITS), f"/{VARS}/0 is not an array, or an empty one"),
    (replaced(f"{VARS}/0", np.float32(1)), "layer backbone_1_conv .* does not fit"),
    (recurrent_kernel_without_units, "is not an array, or an empty one"),
    (attribute(VARS, "name", "backbone_2_conv"), "two layers are called backbone_2_conv"),
    (attribute(VARS, "name", 3), f"/{VARS}, attribute name, is not text"),
    (attribute(VARS, "name", [b"a", b"b"]), f"/{VARS}, attribute name, is not text"),
    (attribute(VARS, "name", b"\xff\xfe"), f"a name in /{VARS}, attribute name, is not text"),
    (attribute(VARS, "name", h5py.Empty("f4")), f"attribute name of /{VARS} has no value"),
    (attribute("/", "mcn_part", 1), "/, attribute mcn_part, is not text"),
    (removed("layers"), "is damaged .it has no layers"),
    (removed(f"{VARS}/0"), "it lacks backbone_1_conv"),
]
KERAS2 = [
    (attribute("/", "layer_names", 3), "/, attribute layer_names, is not a list"),
    (attribute("/", "layer_names", [1, 2]), "/, attribute layer_names, is not text"),
    (attribute("/", "layer_names", [[b"a"]]), "/, attribute layer_names, is not text"),
    (attribute("/", "layer_names", "conv2d_1"), "/, attribute layer_names, is not a list"),
    (attribute("/", "layer_names", [b"\xff"]), "/, attribute layer_names, is not text"),
    (attribute("/", "layer_names", [b"input_1"] * 2), "attribute layer_names, has a name twice"),
    (attribute("/", "layer_names", [b"conv2d_0"]), "lists layer conv2d_0 but lacks it"),
    (attribute("/", "layer_names", h5py.Empty("f4")), "attribute layer_names of / has no value"),
    (attribute("conv2d_1", "weight_names", 3), "/conv2d_1, attribute weight_names, is not a list"),
    (attribute("conv2d_1", "weight_names", [b"/"]), "/ is not an array"),
    (attribute("conv2d_1", "weight_names", [b"conv2d_1"]), f"/{FIRST} is not an array"),
    (to_array("conv2d_1"), "/conv2d_1 is an array, not a group"),
    (to_group(KERNEL), f"/{KERNEL} is not an array, or an empty one"),
    (replaced(KERNEL, NO_UNITS), f"/{KERNEL} is not an array, or an empty one"),
    (removed(KERNEL), f"layer conv2d_1 lacks its array {KERNEL.partition('/')[2]}"),
]


def write_native(path, pair):
    save_weights(pair.source, path)


def write_detector(path, pair):
    write_keras2(path, detector_layers(backbone_arrays(pair.source)))


def write_checkpoint(path, pair):
    write_published(path, pair.source)


def assert_refused(model, path, message):
    for load in (load_weights, load_pretrained):
        with refused(model, match=rf"{path.name}: .*{message}"):
            load(model, path)


@pytest.mark.parametrize(("change", "message"), NATIVE)
def test_files_of_this_project(tmp_path, darknet, change, message):
    path = tmp_path / "malformed.weights.h5"
    write_copy(path, write_native)
    with edited(path) as file:
        change(file)
    assert_refused(darknet.target, path, message)


@pytest.mark.parametrize(("change", "message"), KERAS2)
def test_files_of_keras_2(tmp_path, darknet, change, message):
    path = tmp_path / "malformed.h5"
    write_copy(path, write_detector)
    with h5py.File(path, "r+") as file:
        change(file)
    assert_refused(darknet.target, path, message)
    with pytest.raises(WeightsError, match=message):
        describe(path)


def test_published_kernel_without_units(tmp_path, darknet):
    path = tmp_path / "malformed.h5"
    write_copy(path, write_checkpoint)
    with h5py.File(path, "r+") as file:
        published_kernel_without_units(file)
    assert_refused(darknet.target, path, "is not an array, or an empty one")


@pytest.mark.parametrize("bytes_left", [7, 8, 100, 2000, -1])
def test_truncated_files(tmp_path, darknet, bytes_left):
    path = tmp_path / "malformed.h5"
    write_copy(path, write_checkpoint)
    path.write_bytes(path.read_bytes()[:bytes_left])
    message = "has 7 bytes, fewer than a Darknet header" if bytes_left == 7 else "truncated"
    assert_refused(darknet.target, path, message)


def test_a_missing_first_layer_can_be_described(tmp_path):
    """The number of blocks is counted from it."""
    path = tmp_path / "malformed.weights.h5"
    write_copy(path, write_native)
    with edited(path) as file:
        del file[VARS]
    assert "MCN, darknet backbone" in str(describe(path))
