"""Random damage to HDF5 weights of every layout: weights or a sentence, and bounded memory."""

import contextlib
import io
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.hdf5_file import items_of
from model.mcn import visual_trunk
from model.weights import load_pretrained, load_weights, save_weights
from model.weights.inspection import describe
from tests.fuzz.loading import loaded_or_refused
from tests.fuzz.mutation import damaged_bytes
from tests.limits import memory_within
from tests.model.weights.weight_fixtures import (
    backbone_arrays,
    detector_layers,
    keras3_vgg,
    unseal,
    write_applications_vgg,
    write_keras2,
    write_published,
)
from tests.tiny import scramble

MEMORY = 150_000_000
VGG_CONVOLUTIONS = 13
MEMBER = "model.weights.h5"
READERS = {
    "inspect": lambda model, path: str(describe(path)),
    "load_weights": load_weights,
    "load_pretrained": load_pretrained,
}


def _vgg_arrays(model):
    return backbone_arrays(model)[:VGG_CONVOLUTIONS]


def _write_detector(path, model):
    layers = detector_layers(backbone_arrays(model))
    write_keras2(path, layers, inside="model_weights", chunks=3)


# File name → (backbone of the network that it fits, how it is written).
LAYOUTS = {
    "native.weights.h5": ("darknet", lambda path, model: save_weights(model, path)),
    "trunk.weights.h5": ("vgg", lambda path, model: save_weights(visual_trunk(model), path)),
    "published.h5": ("darknet", write_published),
    "detector.h5": ("darknet", _write_detector),
    "applications.h5": (
        "vgg",
        lambda path, model: write_applications_vgg(path, _vgg_arrays(model)),
    ),
    "keras3.weights.h5": (
        "vgg",
        lambda path, model: keras3_vgg(_vgg_arrays(model)).save_weights(path),
    ),
    "archive.keras": ("vgg", lambda path, model: keras3_vgg(_vgg_arrays(model)).save(path)),
}
# Loading what is still a valid file takes about half a second: fewer examples, except in long runs.
few_examples = settings(max_examples=settings.default.max_examples // 2)
names = st.sampled_from(list(LAYOUTS))
readers = st.sampled_from(list(READERS))


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """`files(name)`: (content, network that it fits, whose weights are others)."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for name, (backbone, write) in LAYOUTS.items():
        model = network(backbone=backbone)
        with loaded_or_refused(model):  # Restores the weights of the network.
            scramble(model, seed=1)
            write(folder / name, model)
        with loaded_or_refused(model):
            report = load_pretrained(model, folder / name)
            assert report.entries
            assert not report.unused
        found[name] = ((folder / name).read_bytes(), model)
    return lambda name: found[name]  # Hypothesis prints this instead of all files.


def _read(model, path, reader):
    with loaded_or_refused(model), memory_within(MEMORY):
        READERS[reader](model, path)


def _hdf5_of(name, content):
    if name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(MEMBER)
    return content


def _write(path, content):
    """Writes an HDF5 file, in an archive if the name says so."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(MEMBER, content)
    else:
        path.write_bytes(content)


@given(st.data(), names, readers)
def test_damaged_bytes(tmp_path, files, data, name, reader):
    content, model = files(name)
    (tmp_path / name).write_bytes(data.draw(damaged_bytes(content)))
    _read(model, tmp_path / name, reader)


# What HDF5 starts the parts of its structure with; most other bytes are values.
SIGNATURES = (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"vars", b"name", b"conv", b"\x89HDF")


@st.composite
def damaged_structure(draw, content):
    """Up to four places near the parts of the structure with bits, or a number, changed."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        signature = draw(st.sampled_from(SIGNATURES))
        first = damaged.find(signature, draw(st.integers(0, len(damaged) - 1)))
        at = min(max(first + draw(st.integers(-100, 200)), 0), len(damaged) - 8)
        number = st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1, at, len(damaged)])
        if draw(st.booleans()):
            damaged[at] ^= 1 << draw(st.integers(0, 7))
        else:
            damaged[at : at + 8] = draw(number).to_bytes(8, "little")
    return bytes(damaged)


@given(st.data(), names, readers)
def test_damaged_structure(tmp_path, files, data, name, reader):
    content, model = files(name)
    _write(tmp_path / name, data.draw(damaged_structure(_hdf5_of(name, content))))
    _read(model, tmp_path / name, reader)


attribute_names = st.sampled_from(
    ["layer_names", "layer_names0", "weight_names", "name", "mcn_part", "mcn_backbone"]
)
attribute_values = st.one_of(
    st.sampled_from(
        ["", "/", "..", "network", "backbone", "trunk", "darknet", "vgg", "x" * 60_000]
    ),
    st.sampled_from([0, -1, 2**63, 1.5, True, b"\xff\xfe", [], [[b"a"]], [1, 2], [b"a", b"a"]]),
    st.lists(st.sampled_from([b"\xff", b"", b"/", b"vars", b"conv2d_1", b"input_1"]), max_size=3),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=5),
    st.just(h5py.Empty("f4")),
)
shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)
dtypes = st.sampled_from(["f2", "f4", "f8", ">f4", "i4", "u1", "?", "S3", "c8"])
numbers = st.sampled_from([np.nan, np.inf, -1, 3e38])


def _replace(file, path, values):
    del file[path]
    file[path] = values


def _set_attribute(file, path, change):
    name, value = change
    file[path].attrs[name] = value


def _remove_attribute(file, path, change):
    names = sorted(file[path].attrs)
    del file[path].attrs[names[change % len(names)]]


def _remove(file, path, change):
    del file[path]


def _array_instead(file, path, shape):
    _replace(file, path, np.ones(shape, "f4"))


def _group_instead(file, path, change):
    del file[path]
    file.create_group(path)


def _other_shape(file, path, shape):
    array = file[path][()]
    _replace(file, path, np.resize(array, shape).astype(array.dtype))


def _other_dtype(file, path, dtype):
    with np.errstate(all="ignore"):
        values = np.asarray(file[path][()]).astype(dtype)
    _replace(file, path, values)


def _no_units(file, path, axis):
    shape = list(file[path].shape)
    shape[axis % len(shape)] = 0
    _replace(file, path, np.ones(shape, "f4"))


def _other_values(file, path, number):
    file[path][...] = number


def _duplicate(file, path, change):
    file.copy(path, f"{path}_1")


def _swap(file, path, other):
    other = _path(file, other)
    file.move(path, "held")
    file.move(other, path)
    file.move("held", other)


places = st.floats(0, 1, exclude_max=True)
# Change → what determines it.
CHANGES = {
    _set_attribute: st.tuples(attribute_names, attribute_values),
    _remove_attribute: st.integers(0, 9),
    _remove: st.none(),
    _array_instead: shapes,
    _group_instead: st.none(),
    _other_shape: shapes,
    _other_dtype: dtypes,
    _no_units: st.integers(0, 3),
    _other_values: numbers,
    _duplicate: st.none(),
    _swap: places,
}
changes = st.lists(
    st.one_of(
        st.tuples(st.just(change), places, determined) for change, determined in CHANGES.items()
    ),
    min_size=1,
    max_size=3,
)


def _path(file, place):
    paths = [item.name for item in items_of(file)]
    return paths[int(place * len(paths))]


def _rearranged(content, wanted, sealed):
    """The file with groups, arrays or attributes changed."""
    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        for change, place, determined in wanted:
            # Not every change applies to every item.
            with contextlib.suppress(
                AttributeError,
                LookupError,
                OSError,
                RuntimeError,
                TypeError,
                ValueError,
                ArithmeticError,
            ):
                change(file, _path(file, place), determined)
        if not sealed:
            unseal(file)
    return memory.getvalue()


@few_examples
@given(changes, st.sampled_from([False, False, False, True]), names, readers)
def test_rearranged(tmp_path, files, wanted, sealed, name, reader):
    content, model = files(name)
    _write(tmp_path / name, _rearranged(_hdf5_of(name, content), wanted, sealed))
    _read(model, tmp_path / name, reader)
