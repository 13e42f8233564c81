"""Files that are not weight files are identified, each with its own message."""

import gzip
import zipfile

import pytest

from model.weights import load_weights
from model.weights.hdf5.content import WeightsError, content_of, open_hdf5
from model.weights.hdf5.layers import read_layers
from tests.model.weights.weight_fixtures import fresh_pair, untouched


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html><body>Quota exceeded</body></html>", "is a web page"),
        ("Datei nicht gefunden – später".encode(), 'is text \\("Datei nicht'),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "git lfs pull"),
        (gzip.compress(b"weights"), "compressed archive"),
        (b"PK\x03\x04 and no more", "damaged zip"),
        (b"\x89HDF\r\n\x1a\n and no more", "cannot be read"),
    ],
    ids=["empty", "page", "text", "pointer", "gzip", "zip", "hdf5"],
)
def test_not_a_weight_file(tmp_path, content, message):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(content)
    network = fresh_pair("darknet").target
    with untouched(network), pytest.raises(WeightsError, match=message) as error:
        load_weights(network, path)
    assert str(path) in str(error.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(WeightsError, match="no such weight file"):
        content_of(tmp_path / "nothing.h5")
    with pytest.raises(WeightsError, match="is a folder"):
        content_of(tmp_path)


def test_zip_with_other_contents(tmp_path):
    path = tmp_path / "weights.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("yolo/yolo.h5", b"x")
    with pytest.raises(WeightsError, match=r"zip archive with yolo/yolo\.h5.*unpack it"):
        content_of(path)


@pytest.mark.parametrize("part", [0.5, 0.99])
def test_truncated_file(tmp_path, part):
    pair = fresh_pair("darknet")
    path = tmp_path / "truncated.weights.h5"
    pair.source.save_weights(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with untouched(pair.target), pytest.raises(WeightsError, match="truncated"):
        load_weights(pair.target, path)


def test_damage_that_appears_while_reading(tmp_path):
    path = tmp_path / "file.weights.h5"
    fresh_pair("darknet").source.save_weights(path)
    with pytest.raises(WeightsError, match="is damaged"), open_hdf5(path) as file:
        file["layers/conv2d/vars/9"]


def test_darknet_file_is_not_hdf5(tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(bytes(64))
    with pytest.raises(WeightsError, match="not an HDF5 file"), open_hdf5(path):
        pass


def archive(path, method=zipfile.ZIP_DEFLATED):
    """Writes a `.keras` archive with the weights of the tiny network; returns its content."""
    weights = path.with_name("inner.weights.h5")
    fresh_pair("darknet").source.save_weights(weights)
    with zipfile.ZipFile(path, "w", method) as file:
        file.write(weights, "model.weights.h5")
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("damaged", [False, True])
def test_archives_are_stored_or_deflated(tmp_path, method, damaged):
    path = tmp_path / "model.keras"
    content = archive(path, method)
    if damaged:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.keras: is refused: .* method"), open_hdf5(path):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_archives(tmp_path, method):
    path = tmp_path / "model.keras"
    content = archive(path, method)
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is a damaged archive"), open_hdf5(path):
        pass


def test_archives_with_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / "model.keras"
    content = archive(path)
    content[7] |= 0x08  # The mark of UTF-8 in front of the member.
    content[content.index(b"model.weights.h5")] = 0xFF
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is a damaged archive"), open_hdf5(path):
        pass


def test_addresses_that_only_some_functions_of_hdf5_follow(tmp_path):
    """That of the next node of a tree with a single node, where it is undefined."""
    path, inner = tmp_path / "model.keras", tmp_path / "inner.weights.h5"
    fresh_pair("darknet").source.save_weights(inner)
    content = bytearray(inner.read_bytes())
    following = content.index(b"TREE") + 16
    assert content[following : following + 8] == b"\xff" * 8
    content[following] = 0
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.weights.h5", content)
    with open_hdf5(path) as file:
        assert len(read_layers(file, path)) > 60
