"""Weight files from strangers: they cannot read other files, run in circles or fill the memory."""

import itertools
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from model.mcn import build_mcn
from model.weights import (
    WeightsError,
    load_pretrained,
    load_text_encoder,
    load_weights,
    save_weights,
)
from model.weights.__main__ import main
from model.weights.inspection import describe
from tests.limits import memory_within
from tests.model.text_encoders.bert_fixtures import write_preset
from tests.model.weights.weight_fixtures import (
    TINY,
    backbone_arrays,
    detector_layers,
    fresh_pair,
    unseal,
    untouched,
    write_copy,
    write_keras2,
    write_published,
)
from tests.tiny import network_config, weights_of

pytestmark = pytest.mark.slow

SECRET = b"a key that belongs to the user..." * 1000
BOMB = (1000, 1000, 1000)


def replace(file, path, **dataset):
    shape, dtype = file[path].shape, file[path].dtype
    del file[path]
    return file.create_dataset(path, **{"shape": shape, "dtype": dtype, **dataset})


def external_storage(file, path, folder):
    (folder / "secret").write_bytes(SECRET)
    replace(file, path, external=[(str(folder / "secret"), 0, h5py.h5f.UNLIMITED)])


def external_link(file, path, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["a"] = file[path][...]
    del file[path]
    file[path] = h5py.ExternalLink(str(folder / "other.h5"), "/a")


def external_group(file, path, folder):
    group = path.rpartition("/")[0]
    with h5py.File(folder / "other.h5", "w") as other:
        file.copy(group, other, "a")
    del file[group]
    file[group] = h5py.ExternalLink(str(folder / "other.h5"), "/a")


def virtual(file, path, folder):
    shape, dtype = file[path].shape, file[path].dtype
    with h5py.File(folder / "other.h5", "w") as other:
        other["a"] = file[path][...]
    del file[path]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "a", shape)
    file.create_virtual_dataset(path, layout)


def soft_link(file, path, folder):
    file.move(path, "elsewhere")
    file[path] = h5py.SoftLink("/elsewhere")


def circle_of_soft_links(file, path, folder):
    file["circle"] = h5py.SoftLink("/circle")


def circle_of_groups(file, path, folder):
    file["circle"] = file["/"]
    file[path].parent["up"] = file[path].parent


def second_name(file, path, folder):
    file["again"] = file[path]


def compressed_chunk(file, path, folder):
    shape = file[path].shape
    chunks = (1000,) * len(shape) if len(shape) < 4 else (10, 10, 1000, 500)
    array = replace(file, path, maxshape=(None,) * len(shape), chunks=chunks, compression="gzip")
    array[...] = 0


def unallocated(file, path, folder):
    file.create_dataset("layers/bomb/vars/0", BOMB, "f4")


def compound(file, path, folder):
    replace(file, path, dtype=np.dtype([("a", "f4"), ("b", "f4")]))


def references(file, path, folder):
    replace(file, path, dtype=h5py.ref_dtype)


def variable_length(file, path, folder):
    replace(file, path, dtype=h5py.vlen_dtype("f4"))


def texts(file, path, folder):
    replace(file, path, dtype=h5py.string_dtype())


def long_doubles(file, path, folder):
    replace(file, path, data=np.ones(file[path].shape, np.longdouble), dtype=np.longdouble)


def named_type(file, path, folder):
    file["type"] = np.dtype("f4")


def attribute_of_references(file, path, folder):
    file.attrs["to"] = file.ref


def control_characters(file, path, folder):
    file.create_group("\x1b[2Jcleared")


def not_utf8(file, path, folder):
    file.create_group(b"\xff\xfe")


def deep(file, path, folder):
    file.create_group("/".join("a" * 200))


ATTACKS = [
    external_storage,
    external_link,
    external_group,
    virtual,
    soft_link,
    circle_of_soft_links,
    circle_of_groups,
    second_name,
    compressed_chunk,
    unallocated,
    compound,
    references,
    variable_length,
    texts,
    long_doubles,
    named_type,
    attribute_of_references,
    control_characters,
    not_utf8,
    deep,
]


def write_native(path, pair):
    save_weights(pair.source, path)
    with h5py.File(path) as file:
        return next(
            f"layers/{key}/vars/0" for key in file["layers"] if "0" in file[f"layers/{key}/vars"]
        )


def write_detector(path, pair):
    write_keras2(path, detector_layers(backbone_arrays(pair.source)))
    return "conv2d_1/conv2d_1/kernel:0"


def write_checkpoint(path, pair):
    write_published(path, pair.source)
    return "conv2d_1/conv2d_1/weight_0:0"


def write_archive(path, pair):
    """Without a suffix of its own: files are recognized by their content."""
    return write_native(path, pair)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """(folder of a BERT preset, network with this BERT)."""
    pytest.importorskip("keras_hub")
    folder = tmp_path_factory.mktemp("preset")
    write_preset(folder)
    config = network_config(text_encoder="bert", bert_path=str(folder), rnn_hidden_size=32)
    return folder, build_mcn(config)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_presets_of_bert_are_refused(tmp_path, preset, attack):
    folder, model = preset
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "r+") as file:
        key = next(k for k in file["layers"] if len(file[f"layers/{k}/vars"]))
        attack(file, f"layers/{key}/vars/0", tmp_path)
    before = weights_of(model)
    with memory_within(300_000_000), pytest.raises(WeightsError, match=r"model\.weights\.h5: is "):
        load_text_encoder(model, tmp_path)
    for name, value in weights_of(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


LAYOUTS = {
    "native": write_native,
    "detector": write_detector,
    "published": write_checkpoint,
    "archive": write_archive,
}


def attacked_layouts():
    """Each attack on files of this project, and on one of the other layouts in turn.

    What opens a file examines all layouts alike.
    """
    native, *others = LAYOUTS
    for attack, other in zip(ATTACKS, itertools.cycle(others)):
        for layout in (native, other):
            yield pytest.param(attack, layout, id=f"{attack.__name__}-{layout}")


@pytest.mark.parametrize(("attack", "layout"), list(attacked_layouts()))
def test_every_reader_refuses(tmp_path, attack, layout, capsys):
    pair = fresh_pair("darknet")
    path = tmp_path / "strange.weights.h5"
    array = write_copy(path, LAYOUTS[layout])
    with h5py.File(path, "r+") as file:
        attack(file, array, tmp_path)
        unseal(file)
    if layout == "archive":
        path = in_archive(path)
    target = tmp_path / "target.weights.h5"
    config = tmp_path / "config.json"
    config.write_text(json.dumps(TINY))
    # The largest array that the attacks declare has 4 GB.
    with untouched(pair.target), memory_within(100_000_000):
        for load in (load_weights, load_pretrained, lambda _, file: describe(file)):
            with pytest.raises(WeightsError, match=f"{path.name}: is (refused|damaged)") as error:
                load(pair.target, path)
            assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match=f"{path.name}: is (refused|damaged)"):
        main(["convert", str(path), str(target), "--config", str(config)])
    assert not target.exists()


def in_archive(path):
    archive_path = path.with_name("strange.keras")
    with zipfile.ZipFile(archive_path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", path.read_bytes())
        archive.writestr("config.json", "{}")
    return archive_path
