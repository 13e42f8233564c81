"""Identifies a weight file by its content and lists the layers of an HDF5 file.

Nothing here depends on a network or imports Keras, so that inspecting a file is quick.
"""

import contextlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from config.errors import Hdf5Error, RefusedHdf5Error, UserError
from config.hdf5_file import items_of, opened_hdf5
from config.hdf5_file.examination import check_name

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
KERAS_MEMBER = "model.weights.h5"
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# Weights are nearly random numbers, which hardly become smaller by compression.
MOST_EXPANSION, SMALL_FILE_BYTES = 10, 1_000_000
# What zipfile raises on damaged archives.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, UnicodeDecodeError)
FETCH_AGAIN = "download it again; `python -m model.weights inspect FILE` identifies a file"


class WeightsError(UserError):
    """A weight file cannot be used; the message names file, layer and remedy."""


@dataclass(frozen=True)
class FileLayer:
    """A layer of a weight file that has arrays.

    Attributes:
        name: name of the layer in the file.
        kind: "conv", "bn", "dense", "rnn" or "other".
        arrays: h5py datasets in the order of the file, read on demand.
    """

    name: str
    kind: str
    arrays: tuple[h5py.Dataset, ...]

    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each array."""
        return [tuple(array.shape) for array in self.arrays]

    def array_names(self) -> list[str]:
        """The path of each array in the file."""
        return [array.name.lstrip("/") for array in self.arrays]

    def __str__(self) -> str:
        return layer_text(self.name, self.kind, self.shapes())


def is_name(weights: str | os.PathLike) -> bool:
    """Whether this is the name of registered weights, such as "imagenet", instead of a file."""
    text = str(weights)
    return "/" not in text and "." not in text and not Path(text).exists()


def content_of(path: str | os.PathLike) -> str:
    """Identifies a file by its content, whatever its name.

    Returns:
        "hdf5" (Keras `.h5` and `.weights.h5`), "keras" (a `.keras` archive) or "darknet" (any
        other binary file, which `model.weights.darknet.read_darknet` examines further).

    Raises:
        WeightsError: the file does not exist or cannot be a weight file.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"{path}: no such weight file; docs/weights.md lists what can be loaded")
    if not path.is_file():
        raise WeightsError(f"{path}: is a folder; specify the weight file itself")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise WeightsError(f"{path}: is empty; {FETCH_AGAIN}")
    if head.startswith(HDF5_SIGNATURE):
        return "hdf5"
    if head.startswith(b"PK\x03\x04"):
        _check_keras_archive(path)
        return "keras"
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull` in its "
            "repository, or download the file in a browser"
        )
    if head.startswith((b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ")):
        raise WeightsError(
            f"{path}: is a compressed archive; unpack it and specify the weight file inside"
        )
    if _is_text(head):
        start = head[:60].decode("utf-8", "replace").split("\n")[0].strip()
        page = "a web page" if head.lstrip().startswith(b"<") else "text"
        raise WeightsError(
            f'{path}: is {page} ("{start}"), not a weight file, so the download link was wrong or '
            f"has expired; {FETCH_AGAIN}"
        )
    return "darknet"


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")
    # The last character may be cut off.
    return len(text.encode()) >= len(head) - 3 and all(
        c.isprintable() or c in "\t\r\n" for c in text
    )


def _check_keras_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise WeightsError(f"{path}: is a damaged zip archive ({error}); {FETCH_AGAIN}") from None
    if members.count(KERAS_MEMBER) > 1:
        raise WeightsError(f"{path}: is refused: the archive has two files {KERAS_MEMBER}")
    if KERAS_MEMBER not in members:
        raise WeightsError(
            f"{path}: is a zip archive with {listed(members) or 'no files'}, not a .keras file of "
            "Keras 3; unpack it and specify the weight file inside"
        )


def _keras_member(path: str | os.PathLike) -> bytes:
    """The HDF5 file inside a `.keras` archive; nothing else of the archive is read.

    Raises:
        WeightsError: it is damaged, or is compressed by another method or more than weights can
            be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (member,) = (m for m in archive.infolist() if m.filename == KERAS_MEMBER)
            if member.compress_type not in METHODS:
                raise WeightsError(
                    f"{path}: is refused: its {KERAS_MEMBER} is compressed by a method that Keras "
                    "does not use; unpack it and specify the weight file inside"
                )
            if member.file_size > SMALL_FILE_BYTES + MOST_EXPANSION * os.path.getsize(path):
                raise WeightsError(
                    f"{path}: is refused: its {KERAS_MEMBER} expands to {member.file_size:,} bytes"
                )
            return archive.read(member)
    except _ZIP_ERRORS as error:
        raise WeightsError(f"{path}: is a damaged archive ({error}); {FETCH_AGAIN}") from None


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Opens a `.h5` file, or the one inside a `.keras` archive, for reading.

    The file has been examined, see `config.hdf5_file.opened_hdf5`. Errors that h5py raises within
    the `with` block count as damage of the file.

    Raises:
        WeightsError: the file is neither of these, is damaged, or contains what weights never do.
    """
    content = content_of(path)
    if content == "darknet":
        raise WeightsError(f"{path}: is not an HDF5 file; {FETCH_AGAIN}")
    source = _keras_member(path) if content == "keras" else path
    try:
        with opened_hdf5(source) as file:
            yield file
    except RefusedHdf5Error as error:
        raise WeightsError(f"{path}: {error}") from None
    except Hdf5Error as error:
        raise WeightsError(f"{path}: {error}; {FETCH_AGAIN}") from None
    except (OSError, KeyError, RuntimeError) as error:  # What h5py raises on damaged files.
        raise WeightsError(f"{path}: is damaged ({error}); {FETCH_AGAIN}") from None


def text_attribute(item: h5py.File | h5py.Group, name: str) -> str | None:
    """The attribute of a file or group as text, or None if there is none.

    Raises:
        Hdf5Error: it is not text.
    """
    value = item.attrs.get(name)
    return None if value is None else _text(value, f"{item.name}, attribute {name},")


def _text(value: Any, where: str) -> str:
    with contextlib.suppress(UnicodeDecodeError):
        value = value.decode() if isinstance(value, bytes) else value
    if not isinstance(value, str):
        raise Hdf5Error(f"is damaged ({where} is not text)")
    check_name(value, where)
    return value


def group_of(parent: h5py.Group, name: str) -> h5py.Group:
    """A group inside another one.

    Raises:
        Hdf5Error: it is an array.
    """
    item = parent[name]
    if not isinstance(item, h5py.Group):
        raise Hdf5Error(f"is damaged ({item.name} is an array, not a group)")
    return item


def array_of(parent: h5py.Group, name: str) -> h5py.Dataset:
    """An array of a layer.

    Raises:
        Hdf5Error: it is a group, or empty.
    """
    item = parent[name]
    if not isinstance(item, h5py.Dataset) or not item.size:
        raise Hdf5Error(f"is damaged ({item.name} is not an array, or an empty one)")
    return item


def read_layers(file: h5py.File, path: str | os.PathLike) -> list[FileLayer]:
    """Lists the layers with arrays of an open Keras file of either layout.

    Keras 2 files list their layers, in an order that is kept. Keras 3 files name groups by class
    and count; these are sorted naturally, and each layer has the name it had in its network.

    Args:
        file: as `open_hdf5` yields it.
        path: the file, for error messages.

    Raises:
        WeightsError: the file is not a weight file of Keras.
    """
    if is_keras2(file):
        return _keras2_layers(file, path)
    layers = [
        FileLayer(layer_name(group) or group.name.strip("/"), layer_kind(arrays), arrays)
        for group, arrays in _keras3_groups(file)
    ]
    if not layers:
        if "run_state" in file.attrs:
            raise WeightsError(
                f"{path}: is the state of a training run; use best.weights.h5 of the same folder"
            )
        raise WeightsError(
            f"{path}: contains no layers, so it is not a weight file of Keras; {FETCH_AGAIN}"
        )
    return layers


def is_keras2(file: h5py.File) -> bool:
    """Whether an open HDF5 file lists its layers in attributes, as Keras 2 wrote them."""
    attributes = _keras2_root(file).attrs
    return "layer_names" in attributes or "layer_names0" in attributes


def _keras2_root(file: h5py.File) -> h5py.Group:
    """The group with the weights, which files of a whole model nest one level deeper."""
    return group_of(file, "model_weights") if "model_weights" in file else file


def _keras2_layers(file: h5py.File, path: str | os.PathLike) -> list[FileLayer]:
    root, layers = _keras2_root(file), []
    for name in _attribute_names(root, "layer_names"):
        if name not in root:
            raise WeightsError(f"{path}: lists layer {name} but lacks it; {FETCH_AGAIN}")
        group = group_of(root, name)
        weights = _attribute_names(group, "weight_names")
        absent = [weight for weight in weights if weight not in group]
        if absent:
            raise WeightsError(f"{path}: layer {name} lacks its array {absent[0]}; {FETCH_AGAIN}")
        if weights:
            arrays = tuple(array_of(group, weight) for weight in weights)
            layers.append(FileLayer(name, layer_kind(arrays), arrays))
    return layers


def _attribute_names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names, which Keras splits over numbered attributes if it is long."""
    if attribute in group.attrs:
        chunks = [group.attrs[attribute]]
    else:
        chunks, index = [], 0
        while f"{attribute}{index}" in group.attrs:
            chunks.append(group.attrs[f"{attribute}{index}"])
            index += 1
    where = f"{group.name}, attribute {attribute},"
    if any(not isinstance(chunk, np.ndarray) for chunk in chunks):
        raise Hdf5Error(f"is damaged ({where} is not a list)")
    names = [_text(name, where) for chunk in chunks for name in chunk]
    if len(set(names)) < len(names):
        raise Hdf5Error(f"is damaged ({where} has a name twice)")
    return names


def _keras3_groups(file: h5py.File) -> list[tuple[h5py.Group, tuple[h5py.Dataset, ...]]]:
    """(group, its arrays) of every layer with arrays, sorted naturally by path."""
    groups = []
    for item in items_of(file):
        path = item.name.lstrip("/")
        is_vars = path.rpartition("/")[2] == "vars"
        has_arrays = is_vars and isinstance(item, h5py.Group) and len(item)
        if has_arrays and not path.startswith("optimizer"):
            groups.append((_natural(path), item.parent))
    groups.sort(key=lambda entry: entry[0])
    return [(group, own_arrays(group)) for _, group in groups]


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", path)]


def own_arrays(group: h5py.Group) -> tuple[h5py.Dataset, ...]:
    """The arrays of a Keras 3 layer in numerical order, without those of nested layers."""
    arrays = group_of(group, "vars")
    return tuple(array_of(arrays, key) for key in sorted(arrays, key=_natural))


def layer_name(group: h5py.Group) -> str | None:
    """The name a layer of a Keras 3 file had; None in files of early versions."""
    return text_attribute(group_of(group, "vars"), "name") if "vars" in group else None


def layer_kind(arrays: Sequence[Any]) -> str:
    """The kind of a layer, "conv", "bn", "dense", "rnn" or "other".

    Args:
        arrays: arrays or variables of the layer; the kind follows from their number of
            dimensions, which is the same in Keras 2 and Keras 3.
    """
    dims = tuple(array.ndim for array in arrays)
    if dims in ((4,), (4, 1)):
        return "conv"
    if dims in ((2,), (2, 1)):
        return "dense"
    if dims == (1, 1, 1, 1):
        return "bn"
    if dims in ((2, 2, 1), (2, 2, 1) * 2, (2, 2, 2), (2, 2, 2) * 2):
        return "rnn"
    return "other"


def layer_text(name: str, kind: str, shapes: Sequence[Sequence[int]]) -> str:
    """Describes a layer for a message: "conv2d_1 (conv 3×3×3×64 + 64)"."""
    contents = shapes_text(shapes) or "no arrays"
    return f"{name} ({contents})" if kind == "other" else f"{name} ({kind} {contents})"


def shapes_text(shapes: Sequence[Sequence[int]]) -> str:
    """Formats shapes for a message: "3×3×3×64 + 64"."""
    return " + ".join("×".join(map(str, shape)) for shape in shapes)


def listed(names: Sequence[str], shown: int = 4) -> str:
    """Lists the first few names for a message: "a, b, c, d and 3 more"."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
