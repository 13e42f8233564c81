"""Which layers of the network a file fills, in the order of the file.

A file holds a part of the network (see `PARTS`). Files of other projects do not know the names of
our layers; their layers come in a fixed order, described here as a list of `Slot`s. One array may
fill several variables: the 1×1 convolutions of the top-down merges are stored whole and run here
as two convolutions, one for each half of the input channels.
"""

from typing import TYPE_CHECKING

from model.weights.hdf5.layers import layer_kind
from model.weights.transfer import Slot

if TYPE_CHECKING:
    import keras

# The whole network, its backbone, and the part of the backbone that classifiers share.
PARTS = NETWORK, BACKBONE, TRUNK = "network", "backbone", "trunk"
# The backbones that files of other projects can hold.
FOREIGN_BACKBONES = ("darknet", "vgg")


def part_of(model: "keras.Model", part: str) -> "keras.Model":
    """Cuts a part out of a network, sharing its layers.

    Args:
        model: network of `build_mcn`.
        part: one of `PARTS`.

    Raises:
        ValueError: the backbone has no trunk.
    """
    # Inspecting a file must not load TensorFlow.
    from model.mcn import visual_backbone, visual_trunk

    if part == NETWORK:
        return model
    return visual_backbone(model) if part == BACKBONE else visual_trunk(model)


def name_of_part(model: "keras.Model") -> str:
    """Which of `PARTS` a model is: one of `build_mcn`, `visual_backbone` or `visual_trunk`."""
    outputs, backbone = [id(tensor) for tensor in model.outputs], model.backbone
    if outputs == [id(feature) for feature in backbone.features]:
        return BACKBONE
    return TRUNK if outputs == [id(backbone.trunk_end)] else NETWORK


def backbone_slots(model: "keras.Model") -> list[Slot]:
    """The backbone in network order: each convolution, then its BatchNorm if it has one."""
    trunk = {layer.name for layer in part_of(model, TRUNK).layers}
    return [
        _slot(layer, layer.name in trunk)
        for layer in part_of(model, BACKBONE).layers
        if layer.weights
    ]


def mcn_slots(model: "keras.Model") -> list[Slot]:
    """The whole network in the order of the published checkpoints.

    Keras 2 sorts layers by their depth counted from the outputs, which interleaves the branches;
    the order is the same for both backbones. Without attention over the words, the recurrent layer
    is nearer to the outputs and therefore comes later.
    """
    layers = {layer.name: layer for layer in model.layers}

    def conv(name: str) -> Slot:
        return _slot(layers[f"{name}_conv"])

    def bn(name: str) -> Slot:
        return _slot(layers[f"{name}_bn"])

    def cbl(name: str) -> list[Slot]:
        return [conv(name), bn(name)]

    *body, last_bn = backbone_slots(model)
    recurrent = _recurrent_slot(layers["text_rnn"])
    if "text_attention" in layers:
        slots = [*body, recurrent, last_bn, _slot(layers["text_attention"]), *cbl("fusion_1")]
    else:
        slots = [*body, last_bn, *cbl("fusion_1"), recurrent]
    slots.append(conv("fusion_2"))
    slots += [_slot(layers["fusion_text_dense"]), bn("fusion_2")]
    slots += [bn("fusion_text"), bn("fusion"), *cbl("lateral_2"), _merge_slot(layers, 2)]
    slots += [bn("merge_2"), *cbl("lateral_3"), _merge_slot(layers, 3), bn("merge_3")]
    slots += [*_garan_slots(layers, "garan_mask"), bn("garan_mask")]
    for index in (2, 1):
        if f"reduce_{index}_in_conv" in layers:
            slots += cbl(f"reduce_{index}_in")
        slots += cbl(f"reduce_{index}_narrow") + cbl(f"reduce_{index}_wide")
    slots += [*cbl("box_in"), *_garan_slots(layers, "garan_box"), *cbl("aspp_pool")]
    slots += [conv(f"aspp_{path}") for path in range(4)] + [_slot(layers["cem_mask"])]
    slots += [bn(f"aspp_{path}") for path in range(4)]
    slots += [_slot(layers["cem_box"]), bn("garan_box")]
    return [*slots, _slot(layers["box_logits"]), _slot(layers["mask_logits"])]


def _slot(layer: "keras.layers.Layer", in_trunk: bool = False) -> Slot:
    """A convolution, BatchNorm or Dense layer, whose variables are in the order of the files."""
    variables = layer.weights
    return Slot(layer.name, layer_kind(variables), tuple((v,) for v in variables), in_trunk)


def _merge_slot(layers: dict, index: int) -> Slot:
    top, side = (layers[f"merge_{index}_{half}"] for half in ("top", "side"))
    return Slot(f"merge_{index}", "conv", ((top.kernel, side.kernel),))


def _garan_slots(layers: dict, unit: str) -> list[Slot]:
    """The four Dense layers of a GARAN unit, which are kernels and biases of one layer here."""
    layer = layers[f"{unit}_attention"]
    return [
        Slot(
            f"{layer.name}.{part}",
            "dense",
            ((getattr(layer, f"{part}_kernel"),), (getattr(layer, f"{part}_bias"),)),
        )
        for part in ("query", "key", "score", "value")
    ]


def _recurrent_slot(layer: "keras.layers.Layer") -> Slot:
    directions = [getattr(layer, "forward_layer", layer), getattr(layer, "backward_layer", None)]
    cells = [direction.cell for direction in directions if direction is not None]
    variables = [v for cell in cells for v in (cell.kernel, cell.recurrent_kernel, cell.bias)]
    return Slot(layer.name, "rnn", tuple((v,) for v in variables))
