"""Registries: names are unique, and unknown ones are explained."""

import pytest

from config.errors import ConfigError
from config.registry import Registry


def test_entries_by_name():
    registry = Registry("backbone")
    registry.add("resnet", 1)
    registry.add("darknet", 2)
    assert (registry.get("darknet"), registry.names()) == (2, ["darknet", "resnet"])


def test_a_name_can_be_registered_only_once():
    registry = Registry("backbone")
    registry.add("darknet", 1)
    with pytest.raises(ValueError, match="backbone 'darknet' is already registered"):
        registry.add("darknet", 2)
    assert registry.get("darknet") == 1


def test_an_unknown_name_lists_the_registered_ones():
    registry = Registry("backbone")
    registry.add("darknet", 1)
    with pytest.raises(ConfigError, match=r'"darknte": must be one of darknet; did you mean "dark'):
        registry.get("darknte")
    with pytest.raises(ConfigError, match=r"must be one of darknet$"):
        registry.get("zebra")
