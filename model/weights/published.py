"""Published MCN checkpoints: Keras 2 files of the training model, matched by their layer list.

Names are no help, since Keras counted layers on from whatever had been built before; the order of
the list is that of the network, layer for layer.
"""

from model.text_encoders.settings import text_settings, text_settings_of
from model.weights.hdf5 import WeightsError, shapes_text
from model.weights.keras_backbone import backbone_of_layers
from model.weights.layouts import mcn_slots
from model.weights.transfer import slot_transfers

# Layers of kind "dense" without the attention over the words: fusion and two GARAN units.
DENSE_LAYERS = 9
KEYS = {
    "backbone": "backbone_width and backbone_blocks",
    "bert": "use_bert and bert_path",
    "text": "rnn_cell, bidirectional, lang_att, rnn_hidden_size and embed_dim",
    "fusion": "jemb_dim, head_width, backbone_width and rnn_hidden_size",
}


def published_transfers(model, layers, backbone, path):
    """Matches a checkpoint with the network, layer by layer.

    Args:
        model: network of `build_mcn`.
        layers: `FileLayer`s of the file, in its order.
        backbone: "darknet" or "vgg", the network's.
        path: the file, for messages.

    Returns:
        List of `Transfer` that fills every weight.

    Raises:
        WeightsError: the file holds another network; names what differs and the config key.
    """
    theirs = backbone_of_layers([layer for layer in layers if layer.kind == "conv"])
    if theirs not in (backbone, None):
        raise WeightsError(
            f"{path}: holds a {theirs} backbone, the network has {backbone}; "
            f'set the config key backbone to "{theirs}"'
        )
    _check_text_branch(model, layers, path)
    slots = mcn_slots(model, backbone)
    for slot, layer in zip(slots, layers, strict=False):
        if slot.kind != layer.kind or slot.shapes() != layer.shapes():
            raise WeightsError(
                f"{path}: layer {layer.name} is a {layer.kind} {shapes_text(layer.shapes())}, "
                f"where the network has {slot.layer}, a {slot.kind} {shapes_text(slot.shapes())}; "
                f"the config keys that decide it: {keys_of(slot.layer)}"
            )
    if len(slots) != len(layers):
        ours, here = [slot.layer for slot in slots], [layer.name for layer in layers]
        rest = ours[len(here) :] or here[len(ours) :]
        raise WeightsError(
            f"{path}: holds {len(here)} layers with weights, the network {len(ours)}; "
            f"without partner: {', '.join(rest[:6])}"
        )
    transfers = []
    for slot, layer in zip(slots, layers, strict=True):
        names = [array.name.lstrip("/") for array in layer.arrays]
        transfers += slot_transfers(slot, names, layer.arrays)
    return transfers


def text_settings_of_layers(layers):
    """`TextSettings` of a published checkpoint, None if it has no recurrent layer."""
    recurrent = next((layer for layer in layers if layer.kind == "rnn"), None)
    if recurrent is None:
        return None
    attention = sum(1 for layer in layers if layer.kind == "dense") > DENSE_LAYERS
    return text_settings(recurrent.shapes(), attention)


def _check_text_branch(model, layers, path):
    ours, theirs = text_settings_of(model), text_settings_of_layers(layers)
    if ours is None:
        raise WeightsError(
            f"{path}: reads words with a recurrent {theirs.rnn_cell}, the network with BERT; "
            "set the config key use_bert to 0"
        )
    check_text_settings(theirs, ours, path)


def check_text_settings(theirs, ours, path):
    """Raises WeightsError that names the config keys if a file's text branch is another one."""
    differences = theirs.differences(ours)
    if differences:
        raise WeightsError(
            f"{path}: its text branch is another one (recurrent cell {theirs.rnn_cell}, the "
            f"network's is {ours.rnn_cell}); set in the config or behind --set: "
            + " ".join(differences)
        )


def keys_of(layer):
    """The config keys that decide the shapes of one of our layers, for messages."""
    return KEYS.get(layer.split("_")[0], "head_width and backbone_width")
