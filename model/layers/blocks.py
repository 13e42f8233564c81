"""The building blocks of the whole network: CBL (convolution, BatchNorm, LeakyReLU) and its parts.

Channels are last everywhere. Every layer has an explicit name, by which weight files find it.
"""

from typing import Any

import keras

from model.layers.batch_norm import BatchNorm
from model.layers.dilated import DilatedConv2D

LEAKY_SLOPE = 0.1


class LayerFactory:
    """Creates recurring layers with the settings that they share within one network.

    Args:
        weight_decay: L2 factor on the kernels of convolutions.
        bn_momentum: momentum of the moving statistics of BatchNorm.
        frozen_bn: "moving" or "batch", see `BatchNorm`.
        crop_taps: of `DilatedConv2D`.
    """

    def __init__(
        self,
        weight_decay: float = 5e-4,
        bn_momentum: float = 0.99,
        frozen_bn: str = "moving",
        crop_taps: bool = True,
    ) -> None:
        self.weight_decay = weight_decay
        self.crop_taps = crop_taps
        self.bn_settings: dict[str, Any] = {
            "momentum": bn_momentum,
            "frozen_statistics": frozen_bn,
        }

    def conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        size: int,
        name: str,
        *,
        decay: bool = True,
        **kwargs: Any,
    ) -> keras.KerasTensor:
        """Conv2D on (N, H, W, C): `same` padding by default, L2 on the kernel if `decay`."""
        regularizer = keras.regularizers.L2(self.weight_decay) if decay else None
        kwargs = {"padding": "same", "kernel_regularizer": regularizer, **kwargs}
        if kwargs.get("dilation_rate", 1) == 1:
            return keras.layers.Conv2D(filters, size, name=name, **kwargs)(x)
        return DilatedConv2D(filters, size, self.crop_taps, name=name, **kwargs)(x)

    def batch_norm(self, name: str) -> BatchNorm:
        """A BatchNorm layer with the network's settings."""
        return BatchNorm(name=name, **self.bn_settings)

    def bn_leaky(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """BatchNorm, then LeakyReLU with slope 0.1; layers `<name>_bn` and `<name>`."""
        x = self.batch_norm(f"{name}_bn")(x)
        return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=name)(x)

    def cbl(
        self, x: keras.KerasTensor, filters: int, size: int, name: str, **kwargs: Any
    ) -> keras.KerasTensor:
        """Conv2D without bias → BatchNorm → LeakyReLU; layers `<name>_conv`, `_bn`, `<name>`."""
        x = self.conv(x, filters, size, f"{name}_conv", use_bias=False, **kwargs)
        return self.bn_leaky(x, name)
