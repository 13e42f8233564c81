"""Reading weight files: completely, or not at all and with the reason.

`hdf5.py` says what a file is and lists its layers; start there.

`load_weights` and `load_pretrained` recognise what a file is by its content, compare it with the
network layer by layer before anything is assigned, and return a report of what went where.
Nothing is matched by luck and nothing is skipped in silence.

    python -m model.weights inspect FILE            says what a file is
    python -m model.weights convert IN OUT          turns it into a .weights.h5 of ours
"""

from model.weights.darknet import read_darknet
from model.weights.darknet_backbone import darknet_backbone_transfers
from model.weights.hdf5 import WeightsError, content_of, is_keras2, open_hdf5, read_layers
from model.weights.keras_backbone import keras_backbone_transfers
from model.weights.layouts import TAIL_LENGTH, backbone_of, backbone_slots
from model.weights.native import (
    BACKBONE_PREFIX,
    check_text_branch,
    is_native,
    native_groups,
    native_transfers,
    write_native,
)
from model.weights.published import published_transfers
from model.weights.transfer import LoadReport, fill

__all__ = ["LoadReport", "WeightsError", "load_pretrained", "load_weights", "save_weights"]


def load_weights(model, path):
    """Fills every weight of a network from a file of ours or a published checkpoint.

    Args:
        model: network of `build_mcn`.
        path: a `.weights.h5` or `.keras` of ours, or a Keras 2 `.h5` of the published training
            or inference model.

    Returns:
        LoadReport; its `missing` is empty.

    Raises:
        WeightsError: the file cannot be read, holds another network, or leaves a weight unfilled.
            Then the network is as it was.
    """
    return _load(model, path, whole=True)


def load_pretrained(model, path, *, ignore_rest=False):
    """Fills a network to start training from: a whole MCN, or its backbone alone.

    Args:
        model: network of `build_mcn`.
        path: what `load_weights` reads; a backbone of ours; YOLOv3 or VGG-16 as Keras `.h5`,
            `.weights.h5` or Darknet `.weights`.
        ignore_rest: of a Darknet file, take the backbone even if it is not known what follows.

    Returns:
        LoadReport; its `missing` names what stays as initialised.

    Raises:
        WeightsError: as `load_weights`.
    """
    return _load(model, path, whole=False, ignore_rest=ignore_rest)


def save_weights(model, path, *, half=False, trained_on=None):
    """Writes `.weights.h5` so that the file is there whole or not at all.

    Args:
        model: network of `build_mcn`, or a part of it.
        path: ends in `.weights.h5`; folders are made.
        half: store float16, at half the size.
        trained_on: what the weights were trained on, kept in the file; see `weight_origin`.

    Raises:
        WeightsError: the path ends otherwise, or a value does not fit float16.
    """
    attributes = {} if trained_on is None else {"trained_on": trained_on}
    write_native(model, path, half=half, attributes=attributes)


def _load(model, path, *, whole, ignore_rest=False):
    path = str(path)
    if content_of(path) == "darknet":
        file = read_darknet(path)
        _refuse_backbone(whole, path)
        backbone = backbone_of(model)
        slots, sides = backbone_slots(model, backbone), _side_channels(model)
        transfers, unused, notes = darknet_backbone_transfers(
            slots, file, backbone, sides, ignore_rest
        )
        kind = f"Darknet weights of a {backbone} backbone"
        return _finish(model, path, kind, transfers, unused, notes)
    with open_hdf5(path) as file:
        groups = {} if is_keras2(file) else native_groups(file)
        if is_native(groups):
            return _load_native(model, path, groups, whole)
        layers = read_layers(file, path)
        backbone = backbone_of(model)
        if any(layer.kind == "rnn" for layer in layers):
            transfers = published_transfers(model, layers, backbone, path)
            return _finish(model, path, "published MCN checkpoint", transfers)
        _refuse_backbone(whole, path)
        slots = backbone_slots(model, backbone)
        transfers, unused, notes = keras_backbone_transfers(slots, layers, backbone, path)
        return _finish(model, path, f"Keras {backbone} backbone", transfers, unused, notes)


def _load_native(model, path, groups, whole):
    ours = [layer for layer in model.layers if layer.weights]
    kind = "MCN weights"
    if all(name.startswith(BACKBONE_PREFIX) for name in groups):
        _refuse_backbone(whole, path)
        ours = [layer for layer in ours if layer.name.startswith(BACKBONE_PREFIX)]
        kind = "backbone weights"
        tail = _tail_names(ours)
        if not tail & set(groups):
            ours = [layer for layer in ours if layer.name not in tail]
            kind = "weights of the trunk of a backbone"
    else:
        check_text_branch(model, groups, path)
    return _finish(model, path, kind, native_transfers(ours, groups, path))


def _tail_names(layers):
    """Names of the layers that belong to the six convolutions behind the trunk."""
    count = sum(1 for layer in layers if layer.name.endswith("_conv"))
    numbers = range(count - TAIL_LENGTH + 1, count + 1)
    return {f"{BACKBONE_PREFIX}{n}_{part}" for n in numbers for part in ("conv", "bn")}


def _refuse_backbone(whole, path):
    if whole:
        raise WeightsError(
            f"{path}: holds a backbone and no whole network; start a training from it with the "
            "config key pretrained_weights"
        )


def _side_channels(model):
    return tuple(model.get_layer(f"lateral_{side}_conv").kernel.shape[-2] for side in (2, 3))


def _finish(model, path, kind, transfers, unused=(), notes=()):
    filled = {id(variable) for transfer in transfers for variable in transfer.variables}
    missing = [
        layer.name
        for layer in model.layers
        if any(id(variable) not in filled for variable in layer.weights)
    ]
    entries = fill(transfers, path)
    return LoadReport(path, kind, entries, list(unused), missing, list(notes))
