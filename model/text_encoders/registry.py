"""The registry of text encoders: name → builder."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from config.registry import Registry
from config.schema import Config

# Layers whose outputs later layers read; each encoder creates all of them.
TEXT_FEATURES = ("fq",)


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A text encoder within the graph of a network.

    Attributes:
        words: the network's input "words", such as (N, T, D) float32 vectors or (N, T) int32
            ids of word pieces.
        features: name → tensor for each of `TEXT_FEATURES`, the output of a layer of that name;
            "fq" is (N, dq), dq even.
    """

    words: keras.KerasTensor
    features: dict[str, keras.KerasTensor]


Builder = Callable[[Config], TextEncoder]
_REGISTRY: Registry[Builder] = Registry("text_encoder")


def register_text_encoder(name: str) -> Callable[[Builder], Builder]:
    """Registers a builder config → `TextEncoder`.

    Args:
        name: value of the config key `text_encoder`.

    Raises:
        ValueError: the name is taken.
    """

    def register(build: Builder) -> Builder:
        _REGISTRY.add(name, build)
        return build

    return register


def text_encoder_names() -> list[str]:
    """The registered names, sorted."""
    return _REGISTRY.names()


def build_text_encoder(config: Config) -> TextEncoder:
    """Builds the text encoder that `config.text_encoder` names.

    Raises:
        ConfigError: no text encoder of this name is registered, or it cannot be built.
    """
    encoder = _REGISTRY.get(config.text_encoder)(config)
    if set(encoder.features) != set(TEXT_FEATURES):
        raise ValueError(
            f"text encoder {config.text_encoder}: features {sorted(encoder.features)}, "
            f"not {sorted(TEXT_FEATURES)}"
        )
    return encoder
