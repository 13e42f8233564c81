"""The registry of visual backbones: name → builder.

A builder returns a `Backbone`, which tells the rest of the network everything that depends on the
choice: the features, where the frozen part ends and where a classifier's trunk ends.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import keras

from config.registry import Registry
from config.schema import Config
from model.layers.blocks import LayerFactory

STRIDES = (32, 16, 8)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A visual backbone within the graph of a network.

    Attributes:
        features: (Fv1, Fv2, Fv3), tensors (N, H/s, W/s, C) at the strides s = 32, 16 and 8.
        frozen_end: tensors; `free_body=1` freezes every layer from the image up to them.
        trunk_end: the tensor up to which weight files of classifiers reach, or None.
        name: the name that it is registered by.
    """

    features: tuple[keras.KerasTensor, keras.KerasTensor, keras.KerasTensor]
    frozen_end: tuple[keras.KerasTensor, ...]
    trunk_end: keras.KerasTensor | None = None
    name: str = ""


Builder = Callable[[LayerFactory, keras.KerasTensor, Config], Backbone]
# Fills the backbone, a model image → features, with pretrained weights.
WeightLoader = Callable[[keras.Model], None]


@dataclass(frozen=True)
class _Entry:
    build: Builder
    preprocess: Callable[[keras.KerasTensor], keras.KerasTensor] | None
    named_weights: Mapping[str, WeightLoader]


_REGISTRY: Registry[_Entry] = Registry("backbone")


def register_backbone(
    name: str,
    *,
    preprocess: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None,
    named_weights: Mapping[str, WeightLoader] | None = None,
) -> Callable[[Builder], Builder]:
    """Registers a builder (layers, image, config) → `Backbone`.

    Args:
        name: value of the config key `backbone`.
        preprocess: maps the image, (N, H, W, 3) RGB in 0..1, to what the builder expects; the
            builder gets the image itself by default.
        named_weights: pretrained weights by name, values of the config key
            `pretrained_weights`.

    Raises:
        ValueError: the name is taken.
    """

    def register(build: Builder) -> Builder:
        _REGISTRY.add(name, _Entry(build, preprocess, named_weights or {}))
        return build

    return register


def backbone_names() -> list[str]:
    """The registered names, sorted."""
    return _REGISTRY.names()


def build_backbone(layers: LayerFactory, image: keras.KerasTensor, config: Config) -> Backbone:
    """Builds the backbone that `config.backbone` names.

    Args:
        layers: creates the layers.
        image: (N, H, W, 3) RGB in 0..1, H and W multiples of 32.
        config: the settings of the run.

    Raises:
        ConfigError: no backbone of this name is registered, or it does not have one of the
            settings.
    """
    entry = _REGISTRY.get(config.backbone)
    inputs = image if entry.preprocess is None else entry.preprocess(image)
    backbone = entry.build(layers, inputs, config)
    grids = [tuple(feature.shape[1:3]) for feature in backbone.features]
    expected = [tuple(side // stride for side in image.shape[1:3]) for stride in STRIDES]
    if grids != expected:
        raise ValueError(f"backbone {config.backbone}: features on grids {grids}, not {expected}")
    return replace(backbone, name=config.backbone)


def load_named_weights(name: str, backbone_name: str, backbone: keras.Model) -> None:
    """Fills a backbone with the pretrained weights of a name such as "imagenet".

    Args:
        name: one of `weight_names`.
        backbone_name: registered name of the backbone.
        backbone: its model, image → features.
    """
    _REGISTRY.get(backbone_name).named_weights[name](backbone)


def weight_names(backbone_name: str) -> list[str]:
    """Names of the pretrained weights that `load_named_weights` knows for a backbone, sorted."""
    return sorted(_REGISTRY.get(backbone_name).named_weights)
