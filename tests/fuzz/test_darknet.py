"""Random damage to Darknet weights: weights or a sentence, and bounded memory."""

import os

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.weights import load_pretrained, load_weights
from model.weights.darknet import BACKBONE_VALUES, TRUNK_VALUES
from model.weights.inspection import describe
from tests.fuzz.loading import loaded_or_refused
from tests.fuzz.mutation import damaged_bytes
from tests.limits import memory_within
from tests.model.weights.weight_fixtures import (
    SIDES,
    backbone_arrays,
    write_darknet,
    yolo_head_arrays,
)

MEMORY = 50_000_000
READERS = {
    "inspect": lambda model, path: str(describe(path)),
    "load_weights": load_weights,
    "load_pretrained": load_pretrained,
    "ignore_rest": lambda model, path: load_pretrained(model, path, ignore_rest=True),
}
numbers = st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3)
readers = st.sampled_from(list(READERS))
backbones = st.sampled_from(list(SIDES))


@pytest.fixture(scope="module")
def detectors(network, tmp_path_factory):
    """`detectors(backbone)`: (network, YOLOv3 with its backbone as a Darknet file)."""
    path, found = tmp_path_factory.mktemp("darknet") / "yolo.weights", {}
    for backbone, sides in SIDES.items():
        model = network(backbone=backbone)
        arrays = backbone_arrays(model)
        # Other values than those of the network, so that what is assigned shows.
        arrays = [(2 * kernel, *others) for kernel, *others in arrays]
        write_darknet(path, arrays + yolo_head_arrays(sides, classes=2))
        with loaded_or_refused(model):
            assert len(load_pretrained(model, path).unused) == 17
        found[backbone] = (model, path.read_bytes())
    return lambda backbone: found[backbone]


@pytest.fixture(autouse=True)
def bounded_memory(detectors):
    with memory_within(MEMORY):
        yield


def _read(detectors, backbone, reader, path):
    model, _ = detectors(backbone)
    with loaded_or_refused(model):
        READERS[reader](model, path)


@given(st.data(), backbones, readers)
def test_damaged_files(tmp_path, detectors, data, backbone, reader):
    path = tmp_path / "damaged.weights"
    path.write_bytes(data.draw(damaged_bytes(detectors(backbone)[1])))
    _read(detectors, backbone, reader, path)


@given(st.tuples(numbers, numbers, numbers), st.binary(max_size=12), backbones, readers)
@example((0, 2, 0), b"\xff" * 8, "darknet", "inspect")
@example((0, 2, 0), bytes(7) + b"\x80", "darknet", "inspect")
@example((999, 999, 999), b"", "vgg", "load_pretrained")
def test_any_header(tmp_path, detectors, version, seen, backbone, reader):
    path = tmp_path / "header.weights"
    path.write_bytes(np.array(version, "<i4").tobytes() + seen + detectors(backbone)[1][20:])
    _read(detectors, backbone, reader, path)


sizes = st.one_of(
    st.integers(0, 40),
    st.integers(0, 2**20),
    st.sampled_from([*TRUNK_VALUES.values(), *BACKBONE_VALUES.values(), 62_001_757]).flatmap(
        lambda values: st.integers(20 + 4 * values - 5, 20 + 4 * values + 5)
    ),
    st.integers(0, 2**42),
)


@given(sizes, backbones, readers)
@example(2**42, "darknet", "ignore_rest")
@example(20 + 4 * 62_001_757, "darknet", "load_pretrained")
def test_any_size(tmp_path, detectors, size, backbone, reader):
    """Also sizes of terabytes, as sparse files, which take no room."""
    path = tmp_path / "size.weights"
    path.write_bytes(detectors(backbone)[1])
    try:
        os.truncate(path, size)
    except OSError:  # More than this file system allows.
        return
    _read(detectors, backbone, reader, path)
