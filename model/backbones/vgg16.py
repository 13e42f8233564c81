"""VGG-16, section 3.1 of the paper."""

import keras

from config.schema import Config
from model.backbones.numbered import NumberedLayers, six_cbls
from model.backbones.registry import Backbone, register_backbone
from model.layers.blocks import LayerFactory

GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (channels, convolutions)


@register_backbone("vgg")
def build_vgg16(layers: LayerFactory, image: keras.KerasTensor, config: Config) -> Backbone:
    """VGG-16 and six CBLs; features of 1024, 512 and 512 channels × backbone_width.

    `free_body=1` freezes everything but the last CBL, as published.
    """
    net, x, groups = NumberedLayers(layers, config.backbone_width), image, []
    for group, (width, repeats) in enumerate(GROUPS, start=1):
        for _ in range(repeats):
            x = net.conv_relu(x, width)
        groups.append(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool_{group}")(x)
    fv3, fv2 = groups[3:]
    cbls = six_cbls(net, x)
    return Backbone((cbls[-1], fv2, fv3), frozen_end=(cbls[-2], fv2, fv3), trunk_end=x)
