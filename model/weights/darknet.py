"""Darknet `.weights` files: header, and convolution after convolution as plain float32.

The format names nothing, so that only lengths tell whether a file is of the network in hand. It
holds per convolution beta, gamma, mean, variance and kernel if BatchNorm follows, otherwise bias
and kernel; kernels are stored as (out, in, height, width).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.weights.hdf5 import FETCH_AGAIN, WeightsError

# Numbers in the full-size backbones: without and with the six convolutions behind the trunk.
TRUNK_VALUES = {"darknet": 40_620_640, "vgg": 14_714_688}
BACKBONE_VALUES = {"darknet": 56_367_712, "vgg": 30_199_616}
# The official YOLOv3, trained on all of COCO, says that it has seen so many images.
OFFICIAL_YOLOV3_SEEN = 32_013_312
CLASSIFIER_CLASSES = 1000
ANCHORS_PER_SCALE = 3


@dataclass(frozen=True)
class DarknetFile:
    """An opened file.

    Attributes:
        path: the file.
        version: (major, minor, revision) of the program that wrote it.
        seen: training images it says to have seen.
        values: float32 (n,), a memory map of all that follows the header.
    """

    path: str
    version: tuple[int, int, int]
    seen: int
    values: np.ndarray


@dataclass(frozen=True)
class Convolution:
    """One convolution of a Darknet network."""

    name: str
    size: int
    inputs: int
    filters: int
    batch_norm: bool

    @property
    def values(self):
        per_filter = self.inputs * self.size**2 + (4 if self.batch_norm else 1)
        return self.filters * per_filter

    def cut(self, values):
        """Views of this convolution's arrays.

        Args:
            values: float32 (n,) that starts with this convolution.

        Returns:
            (kernel (h, w, in, out), rest): rest is (gamma, beta, mean, variance) or (bias,), each
            (out,).
        """
        parts = 4 if self.batch_norm else 1
        vectors = values[: parts * self.filters].reshape(parts, self.filters)
        kernel = values[parts * self.filters : self.values]
        kernel = kernel.reshape(self.filters, self.inputs, self.size, self.size)
        if self.batch_norm:
            beta, gamma, mean, variance = vectors
            return kernel.transpose(2, 3, 1, 0), (gamma, beta, mean, variance)
        return kernel.transpose(2, 3, 1, 0), (vectors[0],)


def read_darknet(path):
    """Opens a `.weights` file of either header version without reading its numbers.

    Returns:
        DarknetFile.

    Raises:
        WeightsError: the header is no Darknet header, or no whole number of float32 follows.
    """
    with open(path, "rb") as file:
        header = file.read(20)
    if len(header) < 16:
        raise WeightsError(f"{path}: has {len(header)} bytes, less than a header; {FETCH_AGAIN}")
    major, minor, revision = (int(number) for number in np.frombuffer(header, "<i4", 3))
    if not all(0 <= number < 1000 for number in (major, minor, revision)):
        raise WeightsError(
            f"{path}: is neither a Keras file nor Darknet weights (it starts with "
            f"{header[:8].hex(' ')}); {FETCH_AGAIN}"
        )
    # Version 0.2 widened the count of images to 64 bits.
    wide = major * 10 + minor >= 2
    start = 20 if wide else 16
    if len(header) < start:
        raise WeightsError(f"{path}: ends within its header; {FETCH_AGAIN}")
    seen = int(np.frombuffer(header, "<i8" if wide else "<i4", 1, offset=12)[0])
    data = Path(path).stat().st_size - start
    if data % 4 or not data:
        raise WeightsError(
            f"{path}: has {data:,} bytes behind its header of {start}, which is no whole number "
            f"of float32 values: the file is cut off; {FETCH_AGAIN}"
        )
    values = np.memmap(path, "<f4", "r", offset=start)
    return DarknetFile(str(path), (major, minor, revision), seen, values)


def yolo_heads(top, side_2, side_3, classes, first=59):
    """The convolutions of YOLOv3 behind our backbone.

    Args:
        top: channels of the backbone's last convolution (Fv1).
        side_2, side_3: channels at strides 16 and 8.
        classes: classes that it tells apart.
        first: number of the first of them in the network.

    Returns:
        List of Convolution in the order of the file.
    """
    shapes = []
    width, side = top, side_2
    for scale in range(3):
        if scale:
            # From the fifth convolution of the scale before, then joined with the side branch.
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


def yolo_classes(count, top, side_2, side_3):
    """How many classes a YOLOv3 has of which `count` values follow the backbone; None if it is
    none. The other arguments are those of `yolo_heads`."""
    without, one = (
        sum(c.values for c in yolo_heads(top, side_2, side_3, classes)) for classes in (0, 1)
    )
    classes, rest = divmod(count - without, one - without)
    return classes if classes > 0 and not rest else None


def classifier_values(top):
    """Values of the 1×1 convolution to 1000 classes that ends Darknet-53 as a classifier."""
    return CLASSIFIER_CLASSES * (top + 1)
