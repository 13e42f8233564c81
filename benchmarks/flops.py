"""Floating-point operations of a network, counted from its layers."""

import math

import keras

from model.heads.garan import GaranAttention
from model.layers.dilated import DilatedConv2D


def count_flops(model: keras.Model) -> int:
    """Counts the FLOPs per sample, two per multiply-add.

    Convolutions, dense, recurrent and attention layers are counted; all others together are below
    1 %. Products with zero padding count, except those that `DilatedConv2D` skips.
    """
    return sum(layer_flops(layer) for layer in model.layers)


def layer_flops(layer: keras.layers.Layer) -> int:
    """FLOPs of one layer per sample, 0 for layers without matrix products."""
    if isinstance(layer, keras.layers.Conv2D):
        height, width, channels = layer.output.shape[1:]
        per_tap = 2 * channels * layer.kernel.shape[2]
        if isinstance(layer, DilatedConv2D) and layer.crops_taps_of(layer.input.shape):
            reach = layer.dilation_rate[0]
            return per_tap * (3 * height - 2 * reach) * (3 * width - 2 * reach)
        return per_tap * height * width * math.prod(layer.kernel_size)
    if isinstance(layer, keras.layers.Dense):
        positions = math.prod(layer.input.shape[1:-1])
        return 2 * positions * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Bidirectional):
        directions = (layer.forward_layer, layer.backward_layer)
        return sum(_recurrent(direction.cell, layer.input.shape[1]) for direction in directions)
    if isinstance(layer, keras.layers.GRU | keras.layers.LSTM):
        return _recurrent(layer.cell, layer.input.shape[1])
    if isinstance(layer, GaranAttention):
        height, width, depth = layer.output.shape[1:]
        # Two logits and one weighted sum per position, each over all channels.
        return 2 * 3 * height * width * depth
    return 0


def _recurrent(cell: keras.layers.Layer, steps: int) -> int:
    return 2 * steps * (math.prod(cell.kernel.shape) + math.prod(cell.recurrent_kernel.shape))
