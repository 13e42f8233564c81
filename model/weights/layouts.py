"""Where the arrays of foreign weight files belong in our network.

A layout is a list of slots in the order of the file's layers. Each slot says what kind of layer
the file holds there and which of our variables its arrays fill. One array may fill several
variables: the 1×1 convolutions of the top-down merges are stored whole and run here as two
convolutions, one for each half of the input channels.
"""

from dataclasses import dataclass

# The convolutions behind the trunk, 1×1 and 3×3 three times, which classifiers do not have.
TAIL_LENGTH = 6


@dataclass(frozen=True)
class Slot:
    """One layer of a weight file.

    Attributes:
        layer: our name for it.
        kind: "conv", "bn", "dense" or "rnn".
        targets: for each array of the file's layer, in its order, the variables that it fills;
            several share it along its input axis (the last but one).
    """

    layer: str
    kind: str
    targets: tuple[tuple, ...]

    def shapes(self):
        """The shapes that the file's arrays must have."""
        return [_joint_shape(variables) for variables in self.targets]


def _joint_shape(variables):
    first = tuple(variables[0].shape)
    if len(variables) == 1:
        return first
    rows = sum(variable.shape[-2] for variable in variables)
    return (*first[:-2], rows, first[-1])


def backbone_of(model):
    """ "darknet" or "vgg", by the BatchNorm behind the first convolution."""
    has_bn = any(layer.name == "backbone_1_bn" for layer in model.layers)
    return "darknet" if has_bn else "vgg"


def backbone_slots(model, backbone):
    """The backbone in network order: each convolution, then its BatchNorm where it has one."""
    convolutions = [layer for layer in model.layers if layer.name.startswith("backbone_")
                    and layer.name.endswith("_conv")]  # fmt: skip
    slots = []
    for number in range(1, len(convolutions) + 1):
        slots.append(_conv(model, f"backbone_{number}_conv"))
        if backbone == "darknet" or len(convolutions) - number < TAIL_LENGTH:
            slots.append(_bn(model, f"backbone_{number}_bn"))
    return slots


def mcn_slots(model, backbone):
    """The whole network in the order of the published checkpoints.

    Keras sorts layers by their depth counted from the outputs, which interleaves the branches;
    the order is the same for both backbones.
    """
    body = backbone_slots(model, backbone)
    head, last_bn = body[:-1], body[-1]

    def conv(name):
        return _conv(model, f"{name}_conv")

    def bn(name):
        return _bn(model, f"{name}_bn")

    def cbl(name):
        return [conv(name), bn(name)]

    slots = [*head, _rnn(model, "text_rnn"), last_bn]
    if any(layer.name == "text_attention" for layer in model.layers):
        slots.append(_dense(model.get_layer("text_attention"), ""))
    slots += [conv("fusion_1"), bn("fusion_1"), conv("fusion_2")]
    slots += [_dense(model.get_layer("fusion_text_dense"), ""), bn("fusion_2")]
    slots += [bn("fusion_text"), bn("fusion"), *cbl("lateral_2"), _merge(model, 2)]
    slots += [bn("merge_2"), *cbl("lateral_3"), _merge(model, 3), bn("merge_3")]
    slots += [*_garan(model, "garan_mask"), bn("garan_mask")]
    for index in (2, 1):
        if any(layer.name == f"reduce_{index}_in_conv" for layer in model.layers):
            slots += cbl(f"reduce_{index}_in")
        slots += cbl(f"reduce_{index}_narrow") + cbl(f"reduce_{index}_wide")
    slots += [*cbl("box_in"), *_garan(model, "garan_box"), *cbl("aspp_pool")]
    slots += [conv(f"aspp_{path}") for path in range(4)] + [_conv(model, "cem_mask")]
    slots += [bn(f"aspp_{path}") for path in range(4)]
    slots += [_conv(model, "cem_box"), bn("garan_box")]
    return [*slots, _conv(model, "box_logits"), _conv(model, "mask_logits")]


def _conv(model, name):
    layer = model.get_layer(name)
    variables = [layer.kernel] + ([layer.bias] if layer.use_bias else [])
    return Slot(name, "conv", tuple((v,) for v in variables))


def _merge(model, index):
    top, side = (model.get_layer(f"merge_{index}_{half}") for half in ("top", "side"))
    return Slot(f"merge_{index}", "conv", ((top.kernel, side.kernel),))


def _bn(model, name):
    layer = model.get_layer(name)
    variables = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    return Slot(name, "bn", tuple((v,) for v in variables))


def _dense(layer, prefix):
    """A Dense layer, or the kernel and bias of one name inside a larger layer."""
    kernel, bias = getattr(layer, f"{prefix}kernel"), getattr(layer, f"{prefix}bias")
    name = f"{layer.name}.{prefix.rstrip('_')}" if prefix else layer.name
    return Slot(name, "dense", ((kernel,), (bias,)))


def _garan(model, unit):
    layer = model.get_layer(f"{unit}_attention")
    return [_dense(layer, f"{part}_") for part in ("query", "key", "score", "value")]


def _rnn(model, name):
    layer = model.get_layer(name)
    directions = [getattr(layer, "forward_layer", layer), getattr(layer, "backward_layer", None)]
    cells = [direction.cell for direction in directions if direction is not None]
    variables = [v for cell in cells for v in (cell.kernel, cell.recurrent_kernel, cell.bias)]
    return Slot(name, "rnn", tuple((v,) for v in variables))
