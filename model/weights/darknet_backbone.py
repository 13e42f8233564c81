"""Backbones in Darknet `.weights` files: the full YOLOv3, or a part of it.

The file names no layers. Its length has to be that of a known network, and the moving variances
have to be such, or the file is refused.
"""

from model.weights.darknet import (
    BACKBONE_VALUES,
    TRUNK_VALUES,
    Convolution,
    classifier_values,
    yolo_classes,
    yolo_heads,
)
from model.weights.hdf5 import WeightsError
from model.weights.layouts import TAIL_LENGTH
from model.weights.transfer import slot_transfers

COCO_CLASSES = 80
FULL_SIZE = {"darknet": (1024, (512, 256)), "vgg": (1024, (512, 512))}


def darknet_backbone_transfers(slots, file, backbone, side_channels, ignore_rest=False):
    """Matches a Darknet file with the backbone by length.

    Args:
        slots: `backbone_slots` of the network.
        file: `DarknetFile`.
        backbone: "darknet" or "vgg", the network's.
        side_channels: channels at strides 16 and 8, where the heads of YOLOv3 join.
        ignore_rest: take the backbone even if what follows it is not known.

    Returns:
        (transfers, unused, notes): what to carry out, what else the file holds, remarks.

    Raises:
        WeightsError: the file ends too early or goes on too long; names the layer, and the bytes
            expected and found.
    """
    convolutions = _convolutions(slots)
    trunk = convolutions[:-TAIL_LENGTH]
    count, top = len(file.values), convolutions[-1].filters
    if count == _values(trunk):
        return _transfers(slots, trunk, file.values), [], []
    if backbone == "darknet" and count == _values(trunk) + classifier_values(top):
        unused = ["the classifier of 1000 classes"]
        return _transfers(slots, trunk, file.values), unused, []
    rest = count - _values(convolutions)
    if rest < 0:
        raise WeightsError(_ends_early(convolutions, file, backbone))
    unused = []
    if rest:
        classes = yolo_classes(rest, top, *side_channels)
        if classes is not None:
            heads = yolo_heads(top, *side_channels, classes, first=len(convolutions) + 1)
            unused = [f"{head.name} ({classes} classes)" for head in heads]
        elif ignore_rest:
            unused = [f"{rest:,} values of an unknown network"]
        else:
            raise WeightsError(_goes_on(convolutions, file, backbone, side_channels))
    return _transfers(slots, convolutions, file.values), unused, []


def _convolutions(slots):
    """The backbone as Darknet counts it: a convolution together with its BatchNorm."""
    normalised = {slot.layer.removesuffix("_bn") for slot in slots if slot.kind == "bn"}
    found = []
    for slot in slots:
        if slot.kind == "conv":
            size, _, inputs, filters = slot.shapes()[0]
            has_bn = slot.layer.removesuffix("_conv") in normalised
            found.append(Convolution(slot.layer, size, inputs, filters, has_bn))
    return found


def _values(convolutions):
    return sum(convolution.values for convolution in convolutions)


def _transfers(slots, convolutions, values):
    by_layer = {slot.layer: slot for slot in slots}
    transfers, position = [], 0
    for number, convolution in enumerate(convolutions, start=1):
        kernel, rest = convolution.cut(values[position : position + convolution.values])
        position += convolution.values
        slot, name = by_layer[convolution.name], f"convolution {number}"
        if not convolution.batch_norm:
            transfers += slot_transfers(slot, (f"{name} kernel", f"{name} bias"), (kernel, *rest))
            continue
        transfers += slot_transfers(slot, (f"{name} kernel",), (kernel,))
        bn = by_layer[convolution.name.removesuffix("_conv") + "_bn"]
        parts = [f"{name} {part}" for part in ("gamma", "beta", "mean", "variance")]
        transfers += slot_transfers(bn, parts, rest)
    return transfers


def _stops_at(convolutions, count):
    """(index, values left) of the convolution within which `count` values end."""
    for index, convolution in enumerate(convolutions):
        if count < convolution.values:
            return index, count
        count -= convolution.values
    return len(convolutions), count


def _ends_early(convolutions, file, backbone):
    index, left = _stops_at(convolutions, len(file.values))
    stopped = convolutions[index]
    return (
        f"{file.path}: ends within {stopped.name} (convolution {index + 1} of "
        f"{len(convolutions)}), which takes {4 * stopped.values:,} bytes where {4 * left:,} are "
        f"left. {_guess(file, backbone)}"
    )


def _goes_on(convolutions, file, backbone, side_channels):
    whole, rest = len(convolutions), len(file.values) - _values(convolutions)
    heads = yolo_heads(convolutions[-1].filters, *side_channels, COCO_CLASSES, first=whole + 1)
    index, left = _stops_at(heads, rest)
    place = f"within {heads[index].name}" if index < len(heads) else "behind YOLOv3"
    return (
        f"{file.path}: {4 * rest:,} bytes follow {convolutions[-1].name} (convolution {whole}), "
        f"where YOLOv3 of {COCO_CLASSES} classes has {4 * _values(heads):,}: it would stop {place} "
        f"with {4 * left:,} bytes left. {_guess(file, backbone)} If you know that it begins with "
        "this backbone, `python -m model.weights convert IN OUT --ignore_rest` takes that out."
    )


def _guess(file, backbone):
    contents = full_size_contents(len(file.values))
    if contents is not None and contents[0] != backbone:
        return (
            f"It has the length of {contents[1]} with a {contents[0]} backbone: "
            f'set the config key backbone to "{contents[0]}".'
        )
    return "The file is damaged, or of another network than the config describes."


def full_size_contents(count):
    """What full-size network has so many values.

    Returns:
        (backbone, what the file holds, classes of YOLOv3 or None), or None if no length fits.
    """
    for backbone, (top, side_channels) in FULL_SIZE.items():
        if count == TRUNK_VALUES[backbone]:
            return backbone, "the trunk of a classifier", None
        if backbone == "darknet" and count == TRUNK_VALUES[backbone] + classifier_values(top):
            return backbone, "a classifier of 1000 classes", None
        rest = count - BACKBONE_VALUES[backbone]
        if rest == 0:
            return backbone, "the backbone alone", None
        classes = yolo_classes(rest, top, *side_channels) if rest > 0 else None
        if classes is not None:
            return backbone, f"YOLOv3 of {classes} classes", classes
    return None
