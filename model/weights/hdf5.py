"""Weight files of any origin: what a file is by its content, and the layers an HDF5 file holds.

Nothing here knows a network, and nothing imports keras, so that looking into a file is quick.
"""

import contextlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py

from config.errors import UserError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
KERAS_MEMBER = "model.weights.h5"
FETCH_AGAIN = "fetch the file again; `python -m model.weights inspect FILE` says what a file is"


class WeightsError(UserError):
    """A weight file that cannot be used; the message names file, layer and the way out."""


@dataclass(frozen=True)
class FileLayer:
    """One layer of a file that holds arrays.

    Attributes:
        name: the layer's name in the file.
        kind: "conv", "bn", "dense", "rnn" or "other".
        arrays: h5py datasets in the file's order, read when they are needed.
    """

    name: str
    kind: str
    arrays: tuple

    def shapes(self):
        return [tuple(array.shape) for array in self.arrays]


def content_of(path):
    """What a file is, whatever its name says.

    Returns:
        "hdf5" (Keras `.h5` and `.weights.h5`), "keras" (a `.keras` archive) or "darknet" (binary
        without a signature; `read_darknet` looks closer).

    Raises:
        WeightsError: there is no such file, or it is something that holds no weights.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"{path}: no such weight file; data/README.md says where to get one")
    if not path.is_file():
        raise WeightsError(f"{path}: is a folder; name the weight file itself")
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise WeightsError(f"{path}: is empty; {FETCH_AGAIN}")
    if head.startswith(HDF5_SIGNATURE):
        return "hdf5"
    if head.startswith(b"PK\x03\x04"):
        _check_keras_archive(path)
        return "keras"
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull` where it "
            "comes from, or download it through the web page"
        )
    if head.startswith((b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ")):
        raise WeightsError(f"{path}: is a compressed archive; unpack it and name the file inside")
    if _is_text(head):
        start = head[:60].decode("utf-8", "replace").split("\n")[0].strip()
        page = "a web page" if head.lstrip().startswith(b"<") else "text"
        raise WeightsError(
            f'{path}: is {page} ("{start}"), not weights: the download link led elsewhere; '
            f"{FETCH_AGAIN}"
        )
    return "darknet"


def _is_text(head):
    text = head.decode("utf-8", "ignore")
    return len(text.encode()) >= len(head) - 3 and all(
        c.isprintable() or c in "\t\r\n" for c in text
    )


def _check_keras_archive(path):
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
        raise WeightsError(f"{path}: is a damaged zip archive ({error}); {FETCH_AGAIN}") from None
    if KERAS_MEMBER not in members:
        listed = ", ".join(members[:4]) or "nothing"
        raise WeightsError(
            f"{path}: is a zip archive with {listed}, not a .keras file of Keras 3; "
            "unpack it and name the weight file inside"
        )


@contextlib.contextmanager
def open_hdf5(path):
    """The open h5py file of a `.h5`, or the one inside a `.keras` archive.

    Raises:
        WeightsError: the file is none of these, or is damaged, even if that shows while reading.
    """
    content = content_of(path)
    if content == "darknet":
        raise WeightsError(f"{path}: is not an HDF5 file; {FETCH_AGAIN}")
    with contextlib.ExitStack() as stack:
        source = path
        try:
            if content == "keras":
                archive = stack.enter_context(zipfile.ZipFile(path))
                source = stack.enter_context(archive.open(KERAS_MEMBER))
            file = stack.enter_context(h5py.File(source, "r"))
        except (OSError, zipfile.BadZipFile) as error:
            raise WeightsError(
                f"{path}: cannot be read, probably cut off ({error}); {FETCH_AGAIN}"
            ) from None
        try:
            yield file
        except (OSError, KeyError, RuntimeError) as error:  # What h5py raises on damaged files.
            raise WeightsError(f"{path}: is damaged ({error}); {FETCH_AGAIN}") from None


def read_layers(file, path):
    """The layers with arrays of an open Keras file of either layout, as `FileLayer`s.

    Keras 2 files list their layers; that order is kept. Keras 3 files name groups by class and
    count; these come in natural order, under the name that each layer had.

    Raises:
        WeightsError: the file is no weight file of Keras.
    """
    if is_keras2(file):
        return _keras2_layers(file, path)
    layers = [
        FileLayer(layer_name(group) or group.name.strip("/"), layer_kind(arrays), arrays)
        for group, arrays in _keras3_groups(file)
    ]
    if not layers:
        if "progress" in file.attrs:
            raise WeightsError(
                f"{path}: is the state of a training run; its weights are in best.weights.h5 "
                "beside it"
            )
        raise WeightsError(f"{path}: holds no layers: not a weight file of Keras; {FETCH_AGAIN}")
    return layers


def is_keras2(file):
    """Whether an open HDF5 file lists its layers in attributes, as Keras 2 wrote them."""
    attributes = _keras2_root(file).attrs
    return "layer_names" in attributes or "layer_names0" in attributes


def _keras2_root(file):
    """The group of the weights, which lies deeper in files of a whole model."""
    return file.get("model_weights", file)


def _keras2_layers(file, path):
    root, layers = _keras2_root(file), []
    for name in _attribute_names(root, "layer_names"):
        if name not in root:
            raise WeightsError(f"{path}: lists a layer {name} but does not hold it; {FETCH_AGAIN}")
        group = root[name]
        weights = _attribute_names(group, "weight_names")
        absent = [weight for weight in weights if weight not in group]
        if absent:
            raise WeightsError(f"{path}: layer {name} lacks its array {absent[0]}; {FETCH_AGAIN}")
        if weights:
            arrays = tuple(group[weight] for weight in weights)
            layers.append(FileLayer(name, layer_kind(arrays), arrays))
    return layers


def _attribute_names(group, attribute):
    """A list of names, which Keras splits over numbered attributes when it is long."""
    if attribute in group.attrs:
        chunks = [group.attrs[attribute]]
    else:
        chunks, index = [], 0
        while f"{attribute}{index}" in group.attrs:
            chunks.append(group.attrs[f"{attribute}{index}"])
            index += 1
    return [n.decode() if isinstance(n, bytes) else str(n) for chunk in chunks for n in chunk]


def _keras3_groups(file):
    """(group, its arrays) of every layer with arrays, in natural order of the path."""
    found = []

    def visit(path, item):
        holds_arrays = isinstance(item, h5py.Group) and path.endswith("vars") and len(item)
        if holds_arrays and not path.startswith("optimizer"):
            found.append((_natural(path), item.parent, own_arrays(item.parent)))

    file.visititems(visit)
    return [(group, arrays) for _, group, arrays in sorted(found, key=lambda entry: entry[0])]


def _natural(path):
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def own_arrays(group):
    """The arrays of one Keras 3 layer, without those of layers inside it, by their number."""
    arrays = group["vars"]
    return tuple(arrays[key] for key in sorted(arrays, key=_natural))


def layer_name(group):
    """The name that a layer of a Keras 3 file had, or None in files of early versions."""
    name = group["vars"].attrs.get("name") if "vars" in group else None
    return name.decode() if isinstance(name, bytes) else name


def layer_kind(arrays):
    """The kind of a layer by the dimensions of its arrays, which both layouts have alike."""
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


def shapes_text(shapes):
    """Shapes for a message, such as "3×3×3×64 + 64"."""
    return " + ".join("×".join(map(str, shape)) for shape in shapes)
