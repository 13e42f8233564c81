"""Visual backbones, section 3.1 of the paper: an image to features at strides 32, 16 and 8.

Convolutions are numbered in network order (`backbone_1_conv`, …), the order in which Darknet
`.weights` files and Keras YOLOv3 files store them.
"""

import keras

DARKNET_WIDTHS = (64, 128, 256, 512, 1024)
VGG_GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def build_backbone(layers, image, backbone="darknet", width=1.0, blocks=(1, 2, 8, 8, 4)):
    """The backbone of the given name.

    Args:
        layers: `LayerFactory`.
        image: (N, H, W, 3) in 0..1, H and W multiples of 32.
        backbone: "darknet" or "vgg".
        width: factor on all channels.
        blocks: residual blocks of the five Darknet stages; VGG-16 has none.

    Returns:
        (Fv1, Fv2, Fv3) at strides 32, 16 and 8; 1024, 512 and 256 (VGG: 512) channels × width.
    """
    numbering = _Numbered(layers, width)
    if backbone == "darknet":
        top, fv2, fv3 = _darknet53(numbering, image, blocks)
    else:
        top, fv2, fv3 = _vgg16(numbering, image)
    return _six_cbls(numbering, top), fv2, fv3


def frozen_tail_length(backbone):
    """How many of the last CBLs still train when the body is frozen (free_body 1)."""
    return 2 if backbone == "darknet" else 1


class _Numbered:
    """Counts convolutions, so that names follow network order."""

    def __init__(self, layers, width):
        self.layers, self.width, self.count = layers, width, 0

    def _next(self, filters):
        self.count += 1
        return round(filters * self.width), f"backbone_{self.count}"

    def cbl(self, x, filters, size, **kwargs):
        filters, name = self._next(filters)
        return self.layers.cbl(x, filters, size, name, **kwargs)

    def conv_relu(self, x, filters):
        filters, name = self._next(filters)
        x = self.layers.conv(x, filters, 3, f"{name}_conv")
        return keras.layers.ReLU(name=name)(x)


def _darknet53(net, x, blocks):
    stages = []
    x = net.cbl(x, 32, 3)
    for stage, (width, repeats) in enumerate(zip(DARKNET_WIDTHS, blocks, strict=True), start=1):
        # Darknet pads a strided convolution at the top and left only.
        x = keras.layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"stage_{stage}_pad")(x)
        x = net.cbl(x, width, 3, strides=2, padding="valid")
        for block in range(1, repeats + 1):
            residual = net.cbl(net.cbl(x, width // 2, 1), width, 3)
            x = keras.layers.Add(name=f"stage_{stage}_add_{block}")([x, residual])
        stages.append(x)
    return stages[4], stages[3], stages[2]


def _vgg16(net, x):
    groups = []
    for group, (width, repeats) in enumerate(VGG_GROUPS, start=1):
        for _ in range(repeats):
            x = net.conv_relu(x, width)
        groups.append(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool_{group}")(x)
    return x, groups[4], groups[3]


def _six_cbls(net, x):
    for _ in range(3):
        x = net.cbl(net.cbl(x, 512, 1), 1024, 3)
    return x
