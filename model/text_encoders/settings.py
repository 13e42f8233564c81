"""Which text branch weights belong to: the settings that its arrays tell."""

from dataclasses import asdict, dataclass

CELL_OF_GATES = {3: "gru", 4: "lstm"}


@dataclass(frozen=True)
class TextSettings:
    """Config keys of the recurrent text branch."""

    rnn_cell: str
    bidirectional: int
    lang_att: int
    rnn_hidden_size: int
    embed_dim: int

    def differences(self, ours):
        """What to set to get from `ours` to these, as "key=value" texts."""
        mine, others = asdict(self), asdict(ours)
        return [f"{key}={mine[key]}" for key in mine if mine[key] != others[key]]


def text_settings(shapes, attention):
    """The settings that arrays show.

    Args:
        shapes: of kernel, recurrent kernel and bias, one after the other for each direction.
        attention: whether the attention over the words has weights.
    """
    (embed_dim, _), (units, columns) = shapes[:2]
    cell = CELL_OF_GATES.get(columns // units, "unknown")
    return TextSettings(cell, int(len(shapes) > 3), int(attention), int(units), int(embed_dim))


def text_settings_of(model):
    """The settings of a network, or None if it has no recurrent text branch (BERT)."""
    layers = {layer.name: layer for layer in model.layers}
    if "text_rnn" not in layers:
        return None
    shapes = [tuple(variable.shape) for variable in layers["text_rnn"].weights]
    return text_settings(shapes, "text_attention" in layers)
