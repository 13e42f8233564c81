"""What the backbones in Darknet's order of layers share.

Convolutions are numbered in network order (`backbone_1_conv`, …), the order in which Darknet
`.weights` files and Keras YOLOv3 files store them.
"""

from typing import Any

import keras

from model.layers.blocks import LayerFactory


class NumberedLayers:
    """Creates convolutions whose names follow network order.

    Args:
        layers: creates the layers.
        width: factor on all channels.
    """

    def __init__(self, layers: LayerFactory, width: float) -> None:
        self.layers, self.width, self.count = layers, width, 0

    def _next(self, filters: int) -> tuple[int, str]:
        self.count += 1
        return round(filters * self.width), f"backbone_{self.count}"

    def cbl(
        self, x: keras.KerasTensor, filters: int, size: int, **kwargs: Any
    ) -> keras.KerasTensor:
        """Convolution without bias, BatchNorm, LeakyReLU."""
        filters, name = self._next(filters)
        return self.layers.cbl(x, filters, size, name, **kwargs)

    def conv_relu(self, x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        """3×3 convolution with bias, ReLU."""
        filters, name = self._next(filters)
        x = self.layers.conv(x, filters, 3, f"{name}_conv")
        return keras.layers.ReLU(name=name)(x)


def six_cbls(net: NumberedLayers, x: keras.KerasTensor) -> list[keras.KerasTensor]:
    """The six CBLs of YOLOv3 behind the trunk: 1×1 512 and 3×3 1024, three times.

    Returns:
        The output of each, in order; the last one is Fv1.
    """
    outputs = []
    for filters, size in ((512, 1), (1024, 3)) * 3:
        x = net.cbl(x, filters, size)
        outputs.append(x)
    return outputs
