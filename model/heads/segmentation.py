"""The RES branch, section 3.2 of the paper: top-down from Fm to mask logits at stride 8.

A merge concatenates an upsampled coarse feature with a fine one and reduces them by a 1×1
convolution. Such a convolution splits over its inputs and commutes with nearest-neighbor
upsampling. The share of the coarse feature therefore runs on the coarse grid, at a quarter of
the products, and the share of the fine feature, which is independent of the words, runs once per
image.
"""

from collections.abc import Sequence

import keras

from model.layers.blocks import LayerFactory


def build_side(
    layers: LayerFactory,
    feature: keras.KerasTensor,
    coarse_channels: int,
    filters: int,
    index: int,
) -> keras.KerasTensor:
    """The word-independent half of a merge: CBL1×1, then its share of the joint 1×1 convolution.

    Args:
        layers: creates the layers.
        feature: fine backbone feature (N, 2h, 2w, C).
        coarse_channels: channels of the coarse feature in the same merge.
        filters: output channels of the merge.
        index: 2 for Fm2, 3 for Fm3.

    Returns:
        (N, 2h, 2w, filters).
    """
    side = layers.cbl(feature, feature.shape[-1], 1, f"lateral_{index}")
    total_channels = side.shape[-1] + coarse_channels
    return _share_of_joint(layers, side, total_channels, filters, f"merge_{index}_side")


def build_merge(
    layers: LayerFactory,
    coarse: keras.KerasTensor,
    side: keras.KerasTensor,
    fine_channels: int,
    index: int,
) -> keras.KerasTensor:
    """The other half of a merge: LeakyReLU(BN(upsampled share of `coarse` + `side`)).

    Args:
        layers: creates the layers.
        coarse: (N, h, w, C).
        side: output of `build_side`, (N, 2h, 2w, filters).
        fine_channels: channels of the fine feature that `side` was computed from.
        index: 2 for Fm2, 3 for Fm3.

    Returns:
        (N, 2h, 2w, filters).
    """
    name = f"merge_{index}"
    total_channels = coarse.shape[-1] + fine_channels
    upsampled = _share_of_joint(layers, coarse, total_channels, side.shape[-1], f"{name}_top")
    upsampled = keras.layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up")(upsampled)
    joined = keras.layers.Add(name=f"{name}_add")([upsampled, side])
    return layers.bn_leaky(joined, name)


def _share_of_joint(
    layers: LayerFactory, x: keras.KerasTensor, total_channels: int, filters: int, name: str
) -> keras.KerasTensor:
    """Applies the rows of a joint 1×1 kernel (total_channels → filters) that belong to x."""
    # Glorot's range depends on the fan of the joint kernel, not of this part of it.
    scale = (x.shape[-1] + filters) / (total_channels + filters)
    initializer = keras.initializers.VarianceScaling(scale, "fan_avg", "uniform")
    return layers.conv(x, filters, 1, name, use_bias=False, kernel_initializer=initializer)


def build_aspp(
    layers: LayerFactory,
    feature: keras.KerasTensor,
    filters: int = 256,
    dilations: Sequence[int] = (6, 12, 18),
) -> keras.KerasTensor:
    """ASPP and the mask logits.

    Args:
        layers: creates the layers.
        feature: Fm3' (N, h, w, d).
        filters: channels of each of the five paths.
        dilations: dilation rates of the three 3×3 paths.

    Returns:
        E (N, h, w, 1), float32 logits.
    """
    paths = [layers.cbl(feature, filters, 1, "aspp_0")]
    for index, dilation in enumerate(dilations, start=1):
        paths.append(layers.cbl(feature, filters, 3, f"aspp_{index}", dilation_rate=dilation))
    # In float32: a sum over all positions overflows in half precision.
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean", dtype="float32")(
        feature
    )
    pooled = layers.cbl(pooled, filters, 1, "aspp_pool")
    pooled = keras.layers.UpSampling2D(feature.shape[1:3], name="aspp_spread")(pooled)
    joined = keras.layers.Concatenate(name="aspp_concat")([pooled, *paths])
    return layers.conv(joined, 1, 1, "mask_logits", dtype="float32")
