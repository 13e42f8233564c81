"""The REC branch, section 3.2: bottom-up from Fm3' to raw boxes at stride 32."""

import keras


def build_reduce(layers, fine, coarse, filters, index):
    """Halves a feature's grid and joins it with the coarser one.

    Args:
        layers: `LayerFactory`.
        fine: (N, 2h, 2w, C); first reduced to `filters` channels where it has more.
        coarse: (N, h, w, D).
        filters: channels of the halved feature.
        index: 2 or 1, after D2 and D1.

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


def build_box_logits(layers, feature, anchors):
    """Raw boxes (N, h, w, anchors·5) float32: per anchor tx, ty, tw, th, confidence logit."""
    return layers.conv(feature, anchors * 5, 1, "box_logits", dtype="float32")
