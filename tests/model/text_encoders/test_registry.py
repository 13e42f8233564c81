"""The registry of text encoders: a new encoder is one function, and mistakes are explained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from config.errors import ConfigError
from config.registry import Registry
from model.mcn import build_mcn, encode_image, encode_text, ground
from model.text_encoders import TextEncoder, text_encoder_names
from model.text_encoders.registry import register_text_encoder
from tests.tiny import network_config, outputs_of, random_batch


@pytest.fixture
def registry(monkeypatch):
    """An empty registry of text encoders."""
    monkeypatch.setattr("model.text_encoders.registry._REGISTRY", Registry("text_encoder"))


def mean_of_words(config):
    words = keras.Input((config.word_len, config.embed_dim), name="words")
    return TextEncoder(words, {"fq": keras.layers.GlobalAveragePooling1D(name="fq")(words)})


def test_the_text_encoders_of_the_project():
    assert text_encoder_names() == ["bert", "recurrent"]


def test_a_registered_text_encoder_is_built_by_its_name(registry):
    register_text_encoder("mean")(mean_of_words)
    config = network_config(text_encoder="mean")
    model = build_mcn(config)
    batch = random_batch(config)
    (fq,) = tf.nest.flatten(encode_text(model)(batch["words"]))
    np.testing.assert_allclose(fq, batch["words"].mean(axis=1), atol=1e-6)
    result = ground(model)([*encode_image(model)(batch["image"]), fq])
    np.testing.assert_allclose(result["boxes"], outputs_of(model, batch)["boxes"], atol=1e-5)


def test_unknown_names_are_refused_when_the_network_is_built():
    with pytest.raises(ConfigError, match=r'text_encoder = "brt": .*bert, recurrent.*"bert"\?'):
        build_mcn(network_config(text_encoder="brt"))


def test_a_missing_feature_is_refused(registry):
    def nameless(config):
        return TextEncoder(mean_of_words(config).words, {})

    register_text_encoder("nameless")(nameless)
    with pytest.raises(ValueError, match=r"nameless: features \[\], not \['fq'\]"):
        build_mcn(network_config(text_encoder="nameless"))
