"""ConvNeXt-Tiny of Keras Applications: a backbone beyond the paper."""

import keras

from config.errors import ConfigError
from config.schema import Config
from model.backbones.registry import Backbone, register_backbone
from model.layers.blocks import LayerFactory


def to_bytes(image: keras.KerasTensor) -> keras.KerasTensor:
    """Keras Applications takes 0..255 and normalizes by ImageNet's statistics itself."""
    return keras.layers.Rescaling(255.0, name="backbone_rescaling")(image)


def load_imagenet(backbone: keras.Model) -> None:
    """Fills the backbone with the ImageNet weights of Keras Applications, which downloads them."""
    source = keras.applications.ConvNeXtTiny(include_top=False, weights="imagenet")
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


@register_backbone("convnext_tiny", preprocess=to_bytes, named_weights={"imagenet": load_imagenet})
def build_convnext_tiny(layers: LayerFactory, image: keras.KerasTensor, config: Config) -> Backbone:
    """ConvNeXt-Tiny; features of 768, 384 and 192 channels.

    `free_body=1` freezes all of it. Its kernels have no weight decay.
    """
    if config.backbone_width != 1.0:
        width = config.backbone_width
        raise ConfigError(f"backbone_width = {width}: convnext_tiny has one width, must be 1.0")
    trunk = keras.applications.ConvNeXtTiny(include_top=False, weights=None, input_tensor=image)
    # A stage ends where the next one downsamples, the last one before the final normalization.
    fv3, fv2 = (trunk.get_layer(f"convnext_tiny_downsampling_block_{i}").input for i in (1, 2))
    features = (trunk.layers[-1].input, fv2, fv3)
    return Backbone(features, frozen_end=features)
