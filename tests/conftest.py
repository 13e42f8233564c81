"""What several test files share: a tiny prepared data set and tiny networks, built once."""

import functools

import pytest

from tests.tiny import ANCHORS, network_config, scramble, write_prepared_set


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """See `tests.tiny.write_prepared_set`; nobody writes into it."""
    return write_prepared_set(tmp_path_factory.mktemp("tiny_set"))


@pytest.fixture(scope="session")
def network():
    """`network(**settings)`: the tiny network of these settings, built once, weights random.

    Nobody changes its weights.
    """
    from model.mcn import build_mcn

    @functools.cache
    def built(frozen_settings):
        settings = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in frozen_settings
        }
        return scramble(build_mcn(network_config(**settings)))

    def get(**settings):
        hashable = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return built(tuple(sorted(hashable.items())))

    return get


@pytest.fixture(scope="session")
def grounder(network):
    """The default tiny network as `utils.prediction.grounder.Grounder`."""
    from utils.prediction.grounder import Grounder

    return Grounder(network(), ANCHORS)
