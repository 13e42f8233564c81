"""Darknet-53 as in YOLOv3, section 3.1 of the paper."""

import keras

from config.schema import Config
from model.backbones.numbered import NumberedLayers, six_cbls
from model.backbones.registry import Backbone, register_backbone
from model.layers.blocks import LayerFactory

STAGE_WIDTHS = (64, 128, 256, 512, 1024)


@register_backbone("darknet")
def build_darknet53(layers: LayerFactory, image: keras.KerasTensor, config: Config) -> Backbone:
    """Darknet-53 and six CBLs; features of 1024, 512 and 256 channels × backbone_width.

    `free_body=1` freezes everything but the last two CBLs, as published.
    """
    net = NumberedLayers(layers, config.backbone_width)
    x, stages = net.cbl(image, 32, 3), []
    for stage, (width, repeats) in enumerate(
        zip(STAGE_WIDTHS, config.backbone_blocks, strict=True), start=1
    ):
        # Darknet pads a strided convolution at the top and left only.
        x = keras.layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"stage_{stage}_pad")(x)
        x = net.cbl(x, width, 3, strides=2, padding="valid")
        for block in range(1, repeats + 1):
            residual = net.cbl(net.cbl(x, width // 2, 1), width, 3)
            x = keras.layers.Add(name=f"stage_{stage}_add_{block}")([x, residual])
        stages.append(x)
    *_, fv3, fv2, trunk_end = stages
    cbls = six_cbls(net, trunk_end)
    return Backbone((cbls[-1], fv2, fv3), frozen_end=(cbls[-3], fv2, fv3), trunk_end=trunk_end)
