"""The RES branch, section 3.2: top-down from Fm to mask logits at stride 8.

`merge` joins a coarse feature, upsampled, with a fine one and reduces their concatenation by a
1×1 convolution. Such a convolution splits over its inputs and commutes with nearest-neighbour
upsampling: it runs here on the coarse grid for the coarse part (a quarter of the products) and,
for the fine part, which no word reaches, once per image.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mcn")
class SpreadOverGrid(keras.layers.Layer):
    """(N, 1, 1, C) repeated over the grid of a second input (N, h, w, ·) → (N, h, w, C)."""

    def call(self, vector, grid):
        shape = ops.shape(grid)
        return ops.broadcast_to(vector, (shape[0], shape[1], shape[2], vector.shape[-1]))

    def compute_output_shape(self, vector_shape, grid_shape):
        return (*grid_shape[:-1], vector_shape[-1])


def build_side(layers, feature, coarse_channels, filters, index):
    """The word-free half of merge number `index`: CBL1×1, then its share of the joint 1×1.

    Args:
        layers: `LayerFactory`.
        feature: fine backbone feature (N, 2h, 2w, C).
        coarse_channels: channels of the coarse feature that it will meet.
        filters: channels of the merge's output.
        index: 2 or 3, after Fm2 and Fm3.

    Returns:
        (N, 2h, 2w, filters).
    """
    side = layers.cbl(feature, feature.shape[-1], 1, f"lateral_{index}")
    return _share_of_joint(
        layers, side, side.shape[-1] + coarse_channels, filters, f"merge_{index}_side"
    )


def build_merge(layers, coarse, side, fine_channels, index):
    """The other half: LeakyReLU(BN(upsampled share of the coarse feature + share of the side)).

    Args:
        layers: `LayerFactory`.
        coarse: (N, h, w, C).
        side: output of `build_side`, (N, 2h, 2w, filters).
        fine_channels: channels of the fine feature that `side` came from.
        index: 2 or 3.

    Returns:
        (N, 2h, 2w, filters).
    """
    name = f"merge_{index}"
    total = coarse.shape[-1] + fine_channels
    top = _share_of_joint(layers, coarse, total, side.shape[-1], f"{name}_top")
    top = keras.layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up")(top)
    joined = keras.layers.Add(name=f"{name}_add")([top, side])
    return layers.bn_leaky(joined, name)


def _share_of_joint(layers, x, total_channels, filters, name):
    """The rows of a joint 1×1 kernel (total_channels → filters) that belong to x."""
    # Glorot's range follows from the fan of the joint kernel, not from that of its part.
    scale = (x.shape[-1] + filters) / (total_channels + filters)
    initializer = keras.initializers.VarianceScaling(scale, "fan_avg", "uniform")
    return layers.conv(x, filters, 1, name, use_bias=False, kernel_initializer=initializer)


def build_aspp(layers, feature, filters=256, dilations=(6, 12, 18)):
    """ASPP and the mask's logits.

    Args:
        layers: `LayerFactory`.
        feature: Fm3' (N, h, w, d).
        filters: channels of each of the five paths.
        dilations: of the three 3×3 paths.

    Returns:
        E (N, h, w, 1), float32 logits.
    """
    paths = [layers.cbl(feature, filters, 1, "aspp_0")]
    for index, dilation in enumerate(dilations, start=1):
        paths.append(layers.cbl(feature, filters, 3, f"aspp_{index}", dilation_rate=dilation))
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(feature)
    pooled = layers.cbl(pooled, filters, 1, "aspp_pool")
    pooled = SpreadOverGrid(name="aspp_spread")(pooled, feature)
    joined = keras.layers.Concatenate(name="aspp_concat")([pooled, *paths])
    return layers.conv(joined, 1, 1, "mask_logits", dtype="float32")
