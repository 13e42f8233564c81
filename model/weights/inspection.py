"""What a weight file is, found out without building a network (and without keras)."""

import itertools
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from model.weights.darknet import ANCHORS_PER_SCALE, OFFICIAL_YOLOV3_SEEN, read_darknet
from model.weights.darknet_backbone import COCO_CLASSES, full_size_contents
from model.weights.hdf5 import content_of, is_keras2, layer_name, open_hdf5, read_layers
from model.weights.keras_backbone import backbone_of_layers, is_caffe_vgg, network_order
from model.weights.layouts import TAIL_LENGTH
from model.weights.native import (
    BACKBONE_PREFIX,
    TRUNK_NAME,
    is_native,
    native_groups,
    text_settings_of_groups,
)
from model.weights.published import text_settings_of_layers

# Filters of the first and the last convolution of the backbones at their full size.
FIRST_FILTERS = {"darknet": 32, "vgg": 64}
VGG_CONVOLUTIONS = 13
FULL_BLOCKS = [1, 2, 8, 8, 4]
BOX_FILTERS = 15
HEAD_FILTERS = 512
TOP_FILTERS = 1024


@dataclass
class Description:
    """What is known of a weight file.

    Attributes:
        path: the file.
        kind: what it is, in words.
        layers: how many layers with weights it holds, None if the format does not tell.
        parameters: how many numbers.
        precision: how they are stored.
        settings: config keys that the file fits, with their values.
        classes: classes of the detector it holds, None if it holds none.
        trained_on: "coco" for all of COCO, "imagenet", what its mark says, or None if unknown.
        reason: how that is known.
    """

    path: str
    kind: str
    layers: int | None
    parameters: int
    precision: str
    settings: dict = field(default_factory=dict)
    classes: int | None = None
    trained_on: str | None = None
    reason: str = ""

    def __str__(self):
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


def describe(path):
    """What a file is.

    Args:
        path: any weight file that `load_pretrained` may be given.

    Returns:
        Description. A file of Keras or Darknet that fits no known network is described too.

    Raises:
        WeightsError: the file is no weight file, or is damaged.
    """
    path = str(path)
    if content_of(path) == "darknet":
        return _describe_darknet(path)
    with open_hdf5(path) as file:
        layers = read_layers(file, path)
        arrays = [array for layer in layers for array in layer.arrays]
        found = Description(
            path,
            "Keras weights of an unknown network",
            len(layers),
            sum(int(np.prod(array.shape)) for array in arrays),
            ", ".join(sorted({str(array.dtype) for array in arrays})),
        )
        groups = {} if is_keras2(file) else native_groups(file)
        if is_native(groups):
            _describe_native(found, file, groups, layers)
        elif any(layer.kind == "rnn" for layer in layers):
            _describe_published(found, layers)
        else:
            _describe_backbone(found, layers)
        mark = file.attrs.get("trained_on")
        if mark is not None:
            found.trained_on = mark.decode() if isinstance(mark, bytes) else str(mark)
            found.reason = "marked so in the file"
    return found


def _describe_darknet(path):
    file = read_darknet(path)
    version = ".".join(map(str, file.version))
    contents = full_size_contents(len(file.values))
    kind = f"Darknet weights, version {version}, {file.seen:,} images seen: "
    found = Description(path, kind, None, len(file.values), "float32")
    if contents is None:
        found.kind += "of a network that is not known by its length"
        return found
    backbone, what, found.classes = contents
    found.kind += f"{what}, {backbone} backbone"
    found.settings = {"backbone": backbone}
    if found.classes == COCO_CLASSES and file.seen == OFFICIAL_YOLOV3_SEEN:
        found.trained_on, found.reason = "coco", "the header is that of the official YOLOv3"
    elif "classifier" in what:
        found.trained_on, found.reason = "imagenet", "the length of a classifier"
    return found


def _describe_native(found, file, groups, layers):
    backbone = "darknet" if "backbone_1_bn" in groups else "vgg"
    if all(name.startswith(BACKBONE_PREFIX) for name in groups):
        count = sum(1 for name in groups if name.endswith("_conv"))
        part = "trunk of a backbone" if layer_name(file) == TRUNK_NAME else "backbone"
        found.kind = f"{part} of MCN, {backbone}, {count} convolutions"
        found.settings = _backbone_settings(layers, backbone, whole=part == "backbone")
        return
    _describe_network(found, layers, backbone, text_settings_of_groups(groups))
    found.kind = f"MCN, {found.kind}"


def _describe_published(found, layers):
    backbone = backbone_of_layers([layer for layer in layers if layer.kind == "conv"])
    _describe_network(found, layers, backbone, text_settings_of_layers(layers))
    found.kind = f"published MCN checkpoint, {found.kind}"


def _describe_network(found, layers, backbone, text):
    found.settings = _backbone_settings(layers, backbone)
    if "backbone_width" in found.settings:
        found.settings["jemb_dim"] = round(TOP_FILTERS * found.settings["backbone_width"])
    if text is None:
        found.kind = f"{backbone} backbone, BERT"
        found.settings["text_encoder"] = "bert"
    else:
        direction = "bidirectional " if text.bidirectional else ""
        found.kind = f"{backbone} backbone, {direction}{text.rnn_cell} of {text.rnn_hidden_size}"
        found.settings |= asdict(text)
    for layer in layers:
        shape = layer.shapes()[0]
        if layer.kind == "conv" and shape[-1] == BOX_FILTERS and shape[2] != HEAD_FILTERS:
            found.settings["head_width"] = shape[2] / HEAD_FILTERS


def _backbone_settings(layers, backbone, whole=True):
    """Config keys of the backbone; those of its size only where they are not the published."""
    settings = {"backbone": backbone}
    kernels = [layer.shapes()[0] for layer in layers if layer.kind == "conv"]
    width = kernels[0][-1] / FIRST_FILTERS[backbone]
    if width != 1:
        settings["backbone_width"] = width
    ours = [layer for layer in layers if layer.kind == "conv" and _is_ours(layer.name)]
    if backbone == "darknet" and ours:
        blocks = _blocks([layer.shapes()[0] for layer in ours])
        # The six convolutions behind the trunk look like three more blocks.
        blocks[-1] -= TAIL_LENGTH // 2 if whole else 0
        if blocks != FULL_BLOCKS:
            settings["backbone_blocks"] = json.dumps(blocks, separators=(",", ":"))
    return settings


def _is_ours(name):
    return name.startswith(BACKBONE_PREFIX)


def _blocks(kernels):
    """Residual blocks of the Darknet stages, from the kernels in network order.

    A stage begins with a 3×3 convolution behind another one; a block is 1×1, then 3×3.
    """
    blocks = []
    for before, kernel in itertools.pairwise(kernels):
        if kernel[0] == 3 and before[0] == 3:
            blocks.append(0)
        elif kernel[0] == 3:
            blocks[-1] += 1
    return blocks


def _describe_backbone(found, layers):
    convolutions = network_order(layers, "conv")
    backbone = backbone_of_layers(convolutions)
    if backbone is None or convolutions[0].shapes()[0][:3] != (3, 3, 3):
        return
    found.settings = _backbone_settings(convolutions, backbone)
    if is_caffe_vgg(layers):
        found.kind = "VGG-16 of Keras Applications (images in BGR, 0..255, minus the mean)"
        if len(convolutions) == VGG_CONVOLUTIONS:
            found.trained_on, found.reason = "imagenet", "the layers of Keras Applications"
        return
    heads = [c.shapes()[0][-1] for c in convolutions[1:] if _is_head(c)]
    found.kind = f"Keras weights of {len(convolutions)} convolutions that begin like {backbone}"
    if heads:
        found.classes = heads[0] // ANCHORS_PER_SCALE - 5
        found.kind += f", with {len(heads)} heads of YOLOv3 for {found.classes} classes"


def _is_head(convolution):
    """Whether a layer is the 1×1 convolution with bias that ends a scale of YOLOv3."""
    *kernel, filters = convolution.shapes()[0]
    biased = len(convolution.arrays) == 2
    return biased and kernel[:2] == [1, 1] and filters % ANCHORS_PER_SCALE == 0 and filters > 15
