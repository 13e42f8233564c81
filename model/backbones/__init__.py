"""Visual backbones: an image to features at strides 32, 16 and 8. Start with `registry.py`.

Each further module registers one backbone; its import below is its entry. `numbered.py` holds
what the backbones in Darknet's order of layers share.
"""

from model.backbones import convnext_tiny, darknet53, vgg16
from model.backbones.registry import (
    Backbone,
    backbone_names,
    build_backbone,
    load_named_weights,
    weight_names,
)

__all__ = [
    "Backbone",
    "backbone_names",
    "build_backbone",
    "convnext_tiny",
    "darknet53",
    "load_named_weights",
    "vgg16",
    "weight_names",
]
