"""The REC branch, section 3.2 of the paper: bottom-up from Fm3' to raw boxes at stride 32."""

import keras

from model.layers.blocks import LayerFactory


def build_reduce(
    layers: LayerFactory,
    fine: keras.KerasTensor,
    coarse: keras.KerasTensor,
    filters: int,
    index: int,
) -> keras.KerasTensor:
    """Halves the grid of a feature and concatenates it with the coarser feature.

    Args:
        layers: creates the layers.
        fine: (N, 2h, 2w, C); first reduced to `filters` channels if it has more.
        coarse: (N, h, w, D).
        filters: channels of the halved feature.
        index: 2 for D2, 1 for D1.

    Returns:
        (N, h, w, filters + D).
    """
    name = f"reduce_{index}"
    if fine.shape[-1] > filters:
        fine = layers.cbl(fine, filters, 1, f"{name}_in")
    x = keras.layers.AveragePooling2D(pool_size=2, name=f"{name}_pool")(fine)
    x = layers.cbl(x, filters // 2, 1, f"{name}_narrow")
    x = layers.cbl(x, filters, 3, f"{name}_wide")
    return keras.layers.Concatenate(name=f"{name}_concat")([x, coarse])


def build_box_logits(
    layers: LayerFactory, feature: keras.KerasTensor, anchors: int
) -> keras.KerasTensor:
    """Raw boxes (N, h, w, anchors·5) float32: per anchor tx, ty, tw, th, confidence logit."""
    return layers.conv(feature, anchors * 5, 1, "box_logits", dtype="float32")
