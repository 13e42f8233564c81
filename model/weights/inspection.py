"""Describes a weight file without building a network and without importing Keras."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from model.weights.darknet import (
    ANCHORS_PER_SCALE,
    COCO_CLASSES,
    OFFICIAL_YOLOV3_SEEN,
    full_size_contents,
    read_darknet,
)
from model.weights.hdf5.content import WeightsError, content_of, open_hdf5
from model.weights.hdf5.layers import FileLayer, read_layers, text_attribute
from model.weights.keras_backbone import backbone_of_layers, is_caffe_vgg, network_order
from model.weights.layouts import BACKBONE, NETWORK, TRUNK
from model.weights.native import (
    TRAINED_ON,
    Contents,
    contents_of,
    layer_groups,
    text_settings_of_groups,
)
from model.weights.published import (
    TextSettings,
    backbone_of_published,
    is_published,
    text_settings_of_layers,
)
from model.weights.settings import SIZE_KEYS, backbone_settings, network_settings

TRUNK_CONVOLUTIONS = {"darknet": 52, "vgg": 13}
TAIL_CONVOLUTIONS = 6


@dataclass
class Description:
    """What is known about a weight file.

    Attributes:
        path: the file.
        kind: what it is, in words.
        layers: number of layers with weights; None if the format does not tell.
        parameters: number of values.
        precision: dtypes of the values.
        published: whether it is a checkpoint of the authors' implementation.
        part: which of `model.weights.layouts.PARTS` it fills; None if that is not known.
        settings: config keys of networks that the file fits, with their values.
        classes: number of classes of the detector in it; None if it is not a detector.
        trained_on: "coco" for all of COCO, "imagenet", the text of its mark, or None if unknown.
        reason: how that is known.
    """

    path: str
    kind: str
    layers: int | None
    parameters: int
    precision: str
    published: bool = False
    part: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    classes: int | None = None
    trained_on: str | None = None
    reason: str = ""

    def __str__(self) -> str:
        layers = "" if self.layers is None else f"{self.layers} layers with weights, "
        lines = [
            f"{self.path}: {self.kind}",
            f"  {layers}{self.parameters:,} parameters, {self.precision}, "
            f"{Path(self.path).stat().st_size:,} bytes",
        ]
        if self.settings:
            settings = " ".join(f"{key}={value}" for key, value in self.settings.items())
            lines.append(f"  fits a config with {settings}")
        trained_on = self.trained_on or "unknown"
        lines.append(f"  trained on: {trained_on}" + (f" ({self.reason})" if self.reason else ""))
        return "\n".join(lines)


def describe(path: str | os.PathLike) -> Description:
    """Describes a file.

    Args:
        path: any weight file that `load_pretrained` accepts, or any other Keras or Darknet file.

    Raises:
        WeightsError: the file is not a weight file, or is damaged.
    """
    path = str(path)
    if content_of(path) == "darknet":
        return _describe_darknet(path)
    with open_hdf5(path) as file:
        layers = read_layers(file, path)
        arrays = [array for layer in layers for array in layer.arrays]
        description = Description(
            path,
            "Keras weights of an unknown network",
            len(layers),
            sum(int(np.prod(array.shape)) for array in arrays),
            ", ".join(sorted({str(array.dtype) for array in arrays})),
        )
        contents = contents_of(file, path)
        if contents is not None:
            _describe_native(description, contents, file, layers)
        elif is_published(layers):
            _describe_published(description, layers)
        else:
            _describe_backbone(description, layers)
        mark = text_attribute(file, TRAINED_ON)
        if mark is not None:
            description.trained_on, description.reason = mark, "marked in the file"
    return description


def difference(path: str | os.PathLike, backbone: str, part: str) -> str | None:
    """How a file differs from a part of the full-size network.

    Args:
        path: the file.
        backbone: the backbone that it must have.
        part: which of `model.weights.layouts.PARTS` it must fill.

    Returns:
        A clause such as "it is a web page, not a weight file", or None if it does not differ.
    """
    try:
        description = describe(path)
    except WeightsError as error:
        return f"it {str(error).removeprefix(f'{path}: ')}"
    settings = description.settings
    if (settings.get("backbone"), description.part) != (backbone, part):
        wanted = "an MCN" if part == NETWORK else f"the {part} of a network"
        return f"it holds {description.kind}, not {wanted} with {backbone}"
    scaled = [f"{key}={settings[key]}" for key in SIZE_KEYS if settings.get(key, 1) != 1]
    if scaled:
        return f"it belongs to a network of another size ({' '.join(scaled)})"
    return None


def _describe_darknet(path: str) -> Description:
    file = read_darknet(path)
    version = ".".join(map(str, file.version))
    contents = full_size_contents(len(file.values))
    kind = f"Darknet weights, version {version}, {file.seen:,} images seen: "
    description = Description(path, kind, None, len(file.values), "float32")
    if contents is None:
        description.kind += "of a network whose length is not known"
        return description
    backbone, what, description.classes = contents
    description.part = TRUNK if "classifier" in what else BACKBONE
    description.kind += f"{what}, {backbone} backbone"
    description.settings = {"backbone": backbone}
    if description.classes == COCO_CLASSES and file.seen == OFFICIAL_YOLOV3_SEEN:
        description.trained_on = "coco"
        description.reason = "its header is that of the official YOLOv3"
    elif "classifier" in what:
        description.trained_on = "imagenet"
        description.reason = "its length is that of a classifier"
    return description


def _describe_native(
    description: Description, contents: Contents, file: h5py.File, layers: Sequence[FileLayer]
) -> None:
    description.part = contents.part
    if contents.part == NETWORK:
        text = text_settings_of_groups(layer_groups(file))
        _describe_network(description, layers, contents.backbone, text)
        description.kind = f"MCN, {description.kind}"
        return
    count = sum(1 for layer in layers if layer.kind == "conv")
    whole = contents.part == BACKBONE
    part = "backbone" if whole else "trunk of a backbone"
    description.kind = f"{part} of MCN, {contents.backbone}, {count} convolutions"
    description.settings = backbone_settings(layers, contents.backbone, whole)


def _describe_published(description: Description, layers: Sequence[FileLayer]) -> None:
    backbone = backbone_of_published(layers)
    if backbone is None:
        return
    description.published, description.part = True, NETWORK
    _describe_network(description, layers, backbone, text_settings_of_layers(layers))
    description.kind = f"published MCN checkpoint, {description.kind}"


def _describe_network(
    description: Description,
    layers: Sequence[FileLayer],
    backbone: str,
    text: TextSettings | None,
) -> None:
    description.settings = network_settings(layers, backbone, text)
    if text is None:
        description.kind = f"{backbone} backbone, BERT"
    else:
        direction = "bidirectional " if text.bidirectional else ""
        description.kind = (
            f"{backbone} backbone, {direction}{text.rnn_cell} of {text.rnn_hidden_size}"
        )


def _describe_backbone(description: Description, layers: Sequence[FileLayer]) -> None:
    convolutions = network_order(layers, "conv")
    backbone = backbone_of_layers(convolutions)
    if backbone is None or convolutions[0].shapes()[0][:3] != (3, 3, 3):
        return
    description.settings = backbone_settings(convolutions, backbone)
    description.part = _part_of_length(backbone, len(convolutions))
    if is_caffe_vgg(layers):
        description.kind = "VGG-16 of Keras Applications (expects BGR in 0..255 minus the mean)"
        if len(convolutions) == TRUNK_CONVOLUTIONS["vgg"]:
            description.trained_on = "imagenet"
            description.reason = "its layers are those of Keras Applications"
        return
    heads = [layer.shapes()[0][-1] for layer in convolutions[1:] if _is_head(layer)]
    description.kind = (
        f"Keras weights of {len(convolutions)} convolutions that start like {backbone}"
    )
    if heads:
        description.classes = heads[0] // ANCHORS_PER_SCALE - 5
        description.kind += f", with {len(heads)} heads of YOLOv3 for {description.classes} classes"


def _part_of_length(backbone: str, convolutions: int) -> str | None:
    """The part of a full-size backbone that a number of convolutions fills."""
    trunk = TRUNK_CONVOLUTIONS[backbone]
    if convolutions >= trunk + TAIL_CONVOLUTIONS:
        return BACKBONE
    return TRUNK if convolutions >= trunk else None


def _is_head(convolution: FileLayer) -> bool:
    """Whether a layer is the 1×1 convolution with bias that ends a scale of YOLOv3."""
    *kernel, filters = convolution.shapes()[0]
    biased = len(convolution.arrays) == 2
    return biased and kernel[:2] == [1, 1] and filters % ANCHORS_PER_SCALE == 0 and filters > 15
