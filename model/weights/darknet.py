"""Darknet `.weights` files, which hold a full YOLOv3 or a part of it.

The format consists of a header and, for each convolution, plain float32 values: beta, gamma, mean,
variance and kernel if BatchNorm follows, otherwise bias and kernel. Kernels are stored as
(out, in, height, width). Layers have no names, so a file is accepted only if its length is that of
a known network and its moving variances are not negative.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.weights.hdf5.content import FETCH_AGAIN, WeightsError
from model.weights.layouts import backbone_slots
from model.weights.transfer import Match, Slot, Transfer, slot_transfers

if TYPE_CHECKING:
    import keras

# Number of values in the full-size backbones, without and with the six convolutions behind the
# trunk; channels of their last convolution and at strides 16 and 8.
TRUNK_VALUES = {"darknet": 40_620_640, "vgg": 14_714_688}
BACKBONE_VALUES = {"darknet": 56_367_712, "vgg": 30_199_616}
FULL_SIZE = {"darknet": (1024, (512, 256)), "vgg": (1024, (512, 512))}
# The number of training images in the header of the official YOLOv3, trained on all of COCO.
OFFICIAL_YOLOV3_SEEN = 32_013_312
COCO_CLASSES = 80
CLASSIFIER_CLASSES = 1000
ANCHORS_PER_SCALE = 3


@dataclass(frozen=True)
class DarknetFile:
    """An open Darknet file.

    Attributes:
        path: the file.
        version: (major, minor, revision) of the program that wrote it.
        seen: number of training images according to the header.
        values: float32 (n,), a memory map of everything after the header.
    """

    path: str
    version: tuple[int, int, int]
    seen: int
    values: np.ndarray


@dataclass(frozen=True)
class Convolution:
    """A convolution of a Darknet network, together with its BatchNorm."""

    name: str
    size: int
    inputs: int
    filters: int
    batch_norm: bool

    @property
    def values(self) -> int:
        """Number of values in the file."""
        per_filter = self.inputs * self.size**2 + (4 if self.batch_norm else 1)
        return self.filters * per_filter

    def split(self, values: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Splits the values of this convolution into views.

        Args:
            values: float32 (n,) that starts with this convolution.

        Returns:
            (kernel (h, w, in, out), vectors): vectors are (gamma, beta, mean, variance) or
            (bias,), each (out,).
        """
        count = 4 if self.batch_norm else 1
        vectors = values[: count * self.filters].reshape(count, self.filters)
        kernel = values[count * self.filters : self.values]
        kernel = kernel.reshape(self.filters, self.inputs, self.size, self.size)
        if self.batch_norm:
            beta, gamma, mean, variance = vectors
            return kernel.transpose(2, 3, 1, 0), (gamma, beta, mean, variance)
        return kernel.transpose(2, 3, 1, 0), (vectors[0],)


def read_darknet(path: str | os.PathLike) -> DarknetFile:
    """Opens a `.weights` file of either header version without reading its values.

    Raises:
        WeightsError: the file has no Darknet header, or no whole number of float32 values.
    """
    with open(path, "rb") as file:
        header = file.read(20)
    if len(header) < 16:
        raise WeightsError(
            f"{path}: has {len(header)} bytes, fewer than a Darknet header; {FETCH_AGAIN}"
        )
    major, minor, revision = (int(number) for number in np.frombuffer(header, "<i4", 3))
    if not all(0 <= number < 1000 for number in (major, minor, revision)):
        raise WeightsError(
            f"{path}: is neither a Keras file nor Darknet weights (it starts with "
            f"{header[:8].hex(' ')}); {FETCH_AGAIN}"
        )
    # Since version 0.2 the number of images has 64 bits.
    wide = major * 10 + minor >= 2
    start = 20 if wide else 16
    if len(header) < start:
        raise WeightsError(f"{path}: ends within its header; {FETCH_AGAIN}")
    seen = int(np.frombuffer(header, "<i8" if wide else "<i4", 1, offset=12)[0])
    data = Path(path).stat().st_size - start
    if data % 4 or not data:
        raise WeightsError(
            f"{path}: has {data:,} bytes after its header of {start}, not a whole number of "
            f"float32 values, so it is truncated; {FETCH_AGAIN}"
        )
    values = np.memmap(path, "<f4", "r", offset=start)
    return DarknetFile(str(path), (major, minor, revision), seen, values)


def match_darknet(model: "keras.Model", file: DarknetFile, ignore_rest: bool = False) -> Match:
    """Matches a Darknet file with the backbone by its length.

    Args:
        model: network of `build_mcn` with a Darknet-53 or VGG-16 backbone.
        file: the file.
        ignore_rest: use the backbone even if what follows it is unknown.

    Returns:
        Match that fills the backbone or its trunk.

    Raises:
        WeightsError: the file is too short or too long; the message names the layer, and the
            expected and actual number of bytes.
    """
    backbone, slots = model.backbone.name, backbone_slots(model)
    convolutions = _convolutions(slots)
    trunk = _convolutions([slot for slot in slots if slot.in_trunk])
    kind = f"Darknet weights of a {backbone} backbone"
    count, top = len(file.values), convolutions[-1].filters
    if count == _values(trunk):
        return Match(kind, _transfers(slots, trunk, file.values))
    if backbone == "darknet" and count == _values(trunk) + classifier_values(top):
        unused = [f"the classifier of {CLASSIFIER_CLASSES} classes"]
        return Match(kind, _transfers(slots, trunk, file.values), unused)
    rest = count - _values(convolutions)
    if rest < 0:
        raise WeightsError(_too_short(convolutions, file, backbone))
    unused = []
    if rest:
        _, fv2, fv3 = model.backbone.features
        sides = (fv2.shape[-1], fv3.shape[-1])
        classes = yolo_classes(rest, top, *sides)
        if classes is not None:
            heads = yolo_heads(top, *sides, classes, first=len(convolutions) + 1)
            unused = [f"{head.name} ({classes} classes)" for head in heads]
        elif ignore_rest:
            unused = [f"{rest:,} values of an unknown network"]
        else:
            raise WeightsError(_too_long(convolutions, file, backbone, sides))
    return Match(kind, _transfers(slots, convolutions, file.values), unused)


def _convolutions(slots: Sequence[Slot]) -> list[Convolution]:
    """The backbone as Darknet counts it: a convolution together with its BatchNorm."""
    convolutions = []
    for slot, following in zip(slots, [*slots[1:], None], strict=True):
        if slot.kind == "conv":
            size, _, inputs, filters = slot.shapes()[0]
            has_bn = following is not None and following.kind == "bn"
            convolutions.append(Convolution(slot.layer, size, inputs, filters, has_bn))
    return convolutions


def _values(convolutions: Sequence[Convolution]) -> int:
    return sum(convolution.values for convolution in convolutions)


def _transfers(
    slots: Sequence[Slot], convolutions: Sequence[Convolution], values: np.ndarray
) -> list[Transfer]:
    transfers, position, remaining = [], 0, iter(slots)
    for number, convolution in enumerate(convolutions, start=1):
        kernel, vectors = convolution.split(values[position : position + convolution.values])
        position += convolution.values
        slot, name = next(remaining), f"convolution {number}"
        if not convolution.batch_norm:
            sources = [f"{name} kernel", f"{name} bias"]
            transfers += slot_transfers(slot, sources, (kernel, *vectors))
            continue
        transfers += slot_transfers(slot, (f"{name} kernel",), (kernel,))
        sources = [f"{name} {part}" for part in ("gamma", "beta", "mean", "variance")]
        transfers += slot_transfers(next(remaining), sources, vectors)
    return transfers


def yolo_heads(
    top: int, side_2: int, side_3: int, classes: int, first: int = 59
) -> list[Convolution]:
    """The convolutions of YOLOv3 that follow the backbone.

    Args:
        top: channels of the backbone's last convolution (Fv1).
        side_2: channels of Fv2, at stride 16.
        side_3: channels of Fv3, at stride 8.
        classes: number of classes of the detector.
        first: number of the first of these convolutions in the network.

    Returns:
        The convolutions in the order of the file.
    """
    shapes = []
    width, side = top, side_2
    for scale in range(3):
        if scale:
            # From the fifth convolution of the previous scale, then concatenated with Fv2 or Fv3.
            shapes.append((1, width, width // 2, True))
            joined, width, side = width // 2 + side, width, side_3
            narrow, wide = width // 2, width
            for inputs in (joined, wide, wide):
                shapes += [(1, inputs, narrow, True), (3, narrow, wide, True)]
        shapes.append((1, width, ANCHORS_PER_SCALE * (5 + classes), False))
        width //= 2
    return [
        Convolution(f"convolution {number} of YOLOv3", *shape)
        for number, shape in enumerate(shapes, start=first)
    ]


def yolo_classes(count: int, top: int, side_2: int, side_3: int) -> int | None:
    """The number of classes of a YOLOv3, from how many values follow the backbone.

    Args:
        count: the number of values that follow.
        top, side_2, side_3: see `yolo_heads`.

    Returns:
        None if no number of classes fits.
    """
    without, one = (_values(yolo_heads(top, side_2, side_3, classes)) for classes in (0, 1))
    classes, rest = divmod(count - without, one - without)
    return classes if classes > 0 and not rest else None


def classifier_values(top: int) -> int:
    """Values of the 1×1 convolution to 1000 classes at the end of Darknet-53 as a classifier.

    Args:
        top: channels of the trunk.
    """
    return CLASSIFIER_CLASSES * (top + 1)


def full_size_contents(count: int) -> tuple[str, str, int | None] | None:
    """Finds the full-size network that has a given number of values.

    Returns:
        (backbone, description, classes of YOLOv3 or None), or None if there is no such network.
    """
    for backbone, (top, sides) in FULL_SIZE.items():
        if count == TRUNK_VALUES[backbone]:
            return backbone, "the trunk of a classifier", None
        if backbone == "darknet" and count == TRUNK_VALUES[backbone] + classifier_values(top):
            return backbone, f"a classifier of {CLASSIFIER_CLASSES} classes", None
        rest = count - BACKBONE_VALUES[backbone]
        if rest == 0:
            return backbone, "the backbone alone", None
        classes = yolo_classes(rest, top, *sides) if rest > 0 else None
        if classes is not None:
            return backbone, f"YOLOv3 of {classes} classes", classes
    return None


def _locate_end(convolutions: Sequence[Convolution], count: int) -> tuple[int, int]:
    """(index, remaining values) of the convolution within which `count` values end."""
    for index, convolution in enumerate(convolutions):
        if count < convolution.values:
            return index, count
        count -= convolution.values
    return len(convolutions), count


def _too_short(convolutions: Sequence[Convolution], file: DarknetFile, backbone: str) -> str:
    index, left = _locate_end(convolutions, len(file.values))
    last = convolutions[index]
    return (
        f"{file.path}: ends within {last.name} (convolution {index + 1} of {len(convolutions)}), "
        f"which needs {4 * last.values:,} bytes when only {4 * left:,} are left; "
        f"{_guess(file, backbone)}"
    )


def _too_long(
    convolutions: Sequence[Convolution], file: DarknetFile, backbone: str, sides: tuple[int, int]
) -> str:
    whole, rest = len(convolutions), len(file.values) - _values(convolutions)
    heads = yolo_heads(convolutions[-1].filters, *sides, COCO_CLASSES, first=whole + 1)
    index, left = _locate_end(heads, rest)
    place = f"within {heads[index].name}" if index < len(heads) else "after YOLOv3"
    return (
        f"{file.path}: {4 * rest:,} bytes follow {convolutions[-1].name} (convolution {whole}), "
        f"but a YOLOv3 of {COCO_CLASSES} classes has {4 * _values(heads):,} there, so the file "
        f"would end {place} with {4 * left:,} bytes left; {_guess(file, backbone)}. If you know "
        "that the file starts with this backbone, extract it with "
        "`python -m model.weights convert IN OUT --ignore_rest`"
    )


def _guess(file: DarknetFile, backbone: str) -> str:
    contents = full_size_contents(len(file.values))
    if contents is not None and contents[0] != backbone:
        return (
            f"it has the length of {contents[1]} with a {contents[0]} backbone: "
            f'set the config key backbone to "{contents[0]}"'
        )
    return "the file is damaged, or its network is not the one that the config describes"
