"""Backbones in Keras files of other projects: YOLOv3 and VGG-16.

A file fills the whole backbone or only its trunk, the part that classifiers share, without the
six convolutions behind it. Anything else in the file, such as the heads of YOLOv3, is reported as
unused.
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from model.weights.hdf5.content import WeightsError
from model.weights.hdf5.layers import FileLayer
from model.weights.layouts import backbone_slots
from model.weights.transfer import Match, Slot, check_backbone, layer_transfers

if TYPE_CHECKING:
    import keras

# Mean color that the Caffe models of VGG-16 subtract, in their channel order.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
CAFFE_NOTE = (
    "the first convolution was adapted: the file expects BGR in 0..255 minus the mean color, the "
    "network provides RGB in 0..1; exact except for the outermost pixels, where zero padding now "
    "stands for black instead of the mean color"
)


def match_keras_backbone(
    model: "keras.Model", layers: Sequence[FileLayer], path: str | os.PathLike
) -> Match:
    """Matches a Keras file of a detector or classifier with the backbone.

    Args:
        model: network of `build_mcn` with a Darknet-53 or VGG-16 backbone.
        layers: layers of the file.
        path: the file, for error messages.

    Returns:
        Match that fills the backbone or its trunk.

    Raises:
        WeightsError: the file holds another network; the message names the first layer that
            differs.
    """
    backbone = model.backbone.name
    convolutions, norms = network_order(layers, "conv"), network_order(layers, "bn")
    check_backbone(backbone_of_layers(convolutions), backbone, path)
    slots = backbone_slots(model)
    conv_slots, bn_slots = ([s for s in slots if s.kind == kind] for kind in ("conv", "bn"))
    fitting = _count_fitting(conv_slots, convolutions)
    if fitting == sum(slot.in_trunk for slot in conv_slots):
        conv_slots, bn_slots = ([s for s in kind if s.in_trunk] for kind in (conv_slots, bn_slots))
    elif fitting < len(conv_slots):
        raise WeightsError(_difference(conv_slots, convolutions, fitting, path))
    fitting_norms = _count_fitting(bn_slots, norms)
    if fitting_norms < len(bn_slots):
        raise WeightsError(_difference(bn_slots, norms, fitting_norms, path))

    caffe = backbone == "vgg" and is_caffe_vgg(layers)
    pairs = [
        *zip(conv_slots, convolutions, strict=False),
        *zip(bn_slots, norms, strict=False),
    ]
    transfers = []
    for slot, layer in pairs:
        changes = _caffe_changes(layer) if caffe and slot is conv_slots[0] else None
        transfers += layer_transfers(slot, layer, changes)
    used = {id(layer) for _, layer in pairs}
    unused = [layer.name for layer in layers if id(layer) not in used]
    return Match(f"Keras {backbone} backbone", transfers, unused, [CAFFE_NOTE] if caffe else [])


def network_order(layers: Sequence[FileLayer], kind: str) -> list[FileLayer]:
    """The layers of one kind in network order.

    Keras sorts layers by depth, which puts the heads of a detector between its convolutions.
    Numbered names (conv2d_17) were counted in the order in which the network was built, starting
    anywhere; layers with other names keep the order of the file.
    """
    chosen = [layer for layer in layers if layer.kind == kind]
    parts = [_stem_and_number(layer.name) for layer in chosen]
    stems = list(dict.fromkeys(stem for stem, _ in parts))
    keys = [(stems.index(stem), number) for stem, number in parts]
    return [chosen[i] for i in sorted(range(len(chosen)), key=keys.__getitem__)]


def _stem_and_number(name: str) -> tuple[str, int]:
    """("conv2d", 12) of conv2d_12; the first layer of later versions has no number."""
    match = re.fullmatch(r"(.*)_(\d+)", name)
    return (match[1], int(match[2])) if match else (name, 0)


def backbone_of_layers(convolutions: Sequence[FileLayer]) -> str | None:
    """The backbone, "darknet" or "vgg", by the bias of the first convolution.

    Returns:
        None if there are no convolutions.
    """
    if not convolutions:
        return None
    return "vgg" if len(convolutions[0].arrays) == 2 else "darknet"


def _count_fitting(slots: Sequence[Slot], layers: Sequence[FileLayer]) -> int:
    """How many layers, counted from the first, have the shapes of their slots."""
    count = 0
    for slot, layer in zip(slots, layers, strict=False):
        if slot.shapes() != layer.shapes():
            break
        count += 1
    return count


def _difference(
    slots: Sequence[Slot], layers: Sequence[FileLayer], index: int, path: str | os.PathLike
) -> str:
    """The message about the first slot without a fitting layer."""
    slot = slots[index]
    if index >= len(layers):
        return (
            f"{path}: holds only {len(layers)} layers of kind {slot.kind}, and the next one of the "
            f"network is {slot}; the file belongs to another network"
        )
    layer = layers[index]
    if slot.kind == "conv" and layer.shapes()[0] == _channels_first(slot.shapes()[0]):
        return (
            f"{path}: layer {layer} stores channels first, as Theano does, and does not fit {slot} "
            "of the network; use the file for TensorFlow (tf_dim_ordering_tf_kernels)"
        )
    return (
        f"{path}: layer {layer} does not fit {slot} of the network; either the file belongs to "
        "another network, or the config scales this one: published files need backbone_width 1.0 "
        "and backbone_blocks [1, 2, 8, 8, 4]"
    )


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    height, width, inputs, filters = shape
    return filters, inputs, height, width


def is_caffe_vgg(layers: Sequence[FileLayer]) -> bool:
    """Whether layers are the VGG-16 of Keras Applications, which expects images as Caffe does.

    Detectors based on it have BatchNorm in their own layers and were trained on RGB in 0..1.
    """
    names = {layer.name for layer in layers}
    return "block1_conv1" in names and not any(layer.kind == "bn" for layer in layers)


def _caffe_changes(layer: FileLayer) -> tuple[Callable, Callable]:
    """Functions that adapt kernel and bias of the first convolution to RGB in 0..1.

    With x_bgr = 255·reversed(rgb) − mean, the factor and the channel order move into the kernel,
    and the mean, multiplied by the kernel's sums, into the bias.
    """
    kernel = layer.arrays[0]

    def change_kernel(values: np.ndarray) -> np.ndarray:
        return 255.0 * values[:, :, ::-1].astype(np.float32)

    def change_bias(values: np.ndarray) -> np.ndarray:
        sums = kernel[...].astype(np.float64).sum(axis=(0, 1))  # (3, filters)
        return (values - np.asarray(CAFFE_MEAN_BGR) @ sums).astype(np.float32)

    return change_kernel, change_bias
