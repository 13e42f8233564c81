"""Multi-modal fusion, section 3.1 of the paper: the image feature multiplied by the text."""

import keras

from model.layers.blocks import LayerFactory


def build_visual_residual(
    layers: LayerFactory, fv1: keras.KerasTensor, head_width: float = 1.0
) -> keras.KerasTensor:
    """v = Fv1 + CBL3×3(CBL1×1(Fv1)), the part of the fusion that is independent of the words.

    Args:
        layers: creates the layers.
        fv1: (N, H/32, W/32, C).
        head_width: factor on the 512 channels of the bottleneck.

    Returns:
        (N, H/32, W/32, C).
    """
    x = layers.cbl(fv1, round(512 * head_width), 1, "fusion_1")
    x = layers.cbl(x, fv1.shape[-1], 3, "fusion_2")
    return keras.layers.Add(name="visual")([fv1, x])


def build_fusion(
    layers: LayerFactory, visual: keras.KerasTensor, fq: keras.KerasTensor
) -> keras.KerasTensor:
    """Fm = LeakyReLU(BN(v ⊙ t)), where t is the projection of fq, broadcast over the grid.

    Args:
        layers: creates the layers.
        visual: v (N, h, w, C).
        fq: language feature (N, dq).

    Returns:
        Fm (N, h, w, C).
    """
    channels = visual.shape[-1]
    text = keras.layers.Dense(channels, name="fusion_text_dense")(fq)
    text = layers.bn_leaky(text, "fusion_text")
    text = keras.layers.Reshape((1, 1, channels), name="fusion_spread")(text)
    product = keras.layers.Multiply(name="fusion_product")([visual, text])
    return layers.bn_leaky(product, "fusion")
