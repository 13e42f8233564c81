"""Backbones in Keras files that others trained: YOLOv3 and VGG-16.

A file fills the whole backbone, or its trunk alone: what a classifier has too, without the six
convolutions behind it. Whatever else it holds, such as the heads of YOLOv3, is named as unused.
"""

import re

import numpy as np

from model.weights.hdf5 import WeightsError, shapes_text
from model.weights.layouts import TAIL_LENGTH
from model.weights.transfer import slot_transfers

# Mean colour that the Caffe models of VGG-16 subtract, in their channel order.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
CAFFE_NOTE = (
    "first convolution adapted: the file expects BGR 0..255 minus the mean colour, the network "
    "gives RGB 0..1; exact but for the outermost pixels, where padding means black and no longer "
    "the mean colour"
)


def keras_backbone_transfers(slots, layers, backbone, path):
    """Matches a Keras file of a detector or classifier with the backbone.

    Args:
        slots: `backbone_slots` of the network.
        layers: `FileLayer`s.
        backbone: "darknet" or "vgg", the network's.
        path: the file, for messages.

    Returns:
        (transfers, unused, notes): what to carry out, names of the file's other layers, remarks.

    Raises:
        WeightsError: the file is of another network; names the first layer that differs.
    """
    convolutions, norms = network_order(layers, "conv"), network_order(layers, "bn")
    theirs = backbone_of_layers(convolutions)
    if theirs not in (backbone, None):
        raise WeightsError(
            f"{path}: holds a {theirs} backbone, the network has {backbone}; "
            f'set the config key backbone to "{theirs}"'
        )
    conv_slots, bn_slots = ([s for s in slots if s.kind == kind] for kind in ("conv", "bn"))
    filled = _matching(conv_slots, convolutions)
    if filled not in (len(conv_slots) - TAIL_LENGTH, len(conv_slots)):
        raise WeightsError(_difference(conv_slots, convolutions, filled, path))
    bn_slots = bn_slots[: max(0, len(bn_slots) - (len(conv_slots) - filled))]
    normalised = _matching(bn_slots, norms)
    if normalised < len(bn_slots):
        raise WeightsError(_difference(bn_slots, norms, normalised, path))

    caffe = backbone == "vgg" and is_caffe_vgg(layers)
    pairs = [*zip(conv_slots[:filled], convolutions, strict=False),
             *zip(bn_slots, norms, strict=False)]  # fmt: skip
    transfers = []
    for slot, layer in pairs:
        names = [array.name.lstrip("/") for array in layer.arrays]
        change = _caffe_changes(layer) if caffe and slot is slots[0] else None
        transfers += slot_transfers(slot, names, layer.arrays, change)
    used = {id(layer) for _, layer in pairs}
    unused = [layer.name for layer in layers if id(layer) not in used]
    return transfers, unused, [CAFFE_NOTE] if caffe else []


def network_order(layers, kind):
    """The layers of one kind in network order.

    Keras sorts layers by depth, which puts the heads of a detector between its convolutions.
    Numbered names (conv2d_17) were counted in the order in which the network was built, from
    wherever the count stood; other names keep the order of the file.
    """
    chosen = [layer for layer in layers if layer.kind == kind]
    parts = [_stem_and_number(layer.name) for layer in chosen]
    stems = list(dict.fromkeys(stem for stem, _ in parts))
    keys = [(stems.index(stem), number) for stem, number in parts]
    return [chosen[i] for i in sorted(range(len(chosen)), key=keys.__getitem__)]


def _stem_and_number(name):
    """("conv2d", 12) of conv2d_12; the first layer of later versions has no number."""
    match = re.fullmatch(r"(.*)_(\d+)", name)
    return (match[1], int(match[2])) if match else (name, 0)


def backbone_of_layers(convolutions):
    """ "darknet" or "vgg" by the bias of the first convolution, None without convolutions."""
    if not convolutions:
        return None
    return "vgg" if len(convolutions[0].arrays) == 2 else "darknet"


def _matching(slots, layers):
    """How many layers from the first on have the shapes of their slots."""
    count = 0
    for slot, layer in zip(slots, layers, strict=False):
        if slot.shapes() != layer.shapes():
            break
        count += 1
    return count


def _difference(slots, layers, at, path):
    slot = slots[at]
    ours = f"{slot.layer} ({slot.kind} {shapes_text(slot.shapes())})"
    if at >= len(layers):
        return (
            f"{path}: holds {len(layers)} layers of kind {slot.kind}; the network goes on with "
            f"{ours}. The file is of another network"
        )
    layer = layers[at]
    theirs = f"layer {layer.name} ({layer.kind} {shapes_text(layer.shapes())})"
    if slot.kind == "conv" and layer.shapes()[0] == _channels_first(slot.shapes()[0]):
        return (
            f"{path}: {theirs} stores channels first, as Theano does, where the network has "
            f"{ours}; take the file for TensorFlow (tf_dim_ordering_tf_kernels)"
        )
    return (
        f"{path}: {theirs} stands where the network has {ours}. Either the file is of another "
        "network, or the config scales this one: published files fit backbone_width 1.0 and "
        "backbone_blocks [1, 2, 8, 8, 4]"
    )


def _channels_first(shape):
    height, width, inputs, filters = shape
    return filters, inputs, height, width


def is_caffe_vgg(layers):
    """Whether layers are the VGG-16 of Keras Applications, which reads images as Caffe does.

    Detectors built on it have BatchNorm in their own layers and were trained on RGB 0..1.
    """
    names = {layer.name for layer in layers}
    return "block1_conv1" in names and not any(layer.kind == "bn" for layer in layers)


def _caffe_changes(layer):
    """Functions on kernel and bias of the first convolution that make it read RGB in 0..1.

    With x_bgr = 255·rgb reversed − mean, the factor and the order of channels go into the kernel
    and the mean, times the kernel's sums, into the bias.
    """
    kernel = layer.arrays[0]

    def change_kernel(values):
        return 255.0 * values[:, :, ::-1].astype(np.float32)

    def change_bias(values):
        sums = kernel[...].astype(np.float64).sum(axis=(0, 1))  # (3, filters)
        return (values - np.asarray(CAFFE_MEAN_BGR) @ sums).astype(np.float32)

    return change_kernel, change_bias
