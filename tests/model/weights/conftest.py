"""Pairs of tiny networks: one to write files from, one to load them into."""

import pytest

from tests.model.weights.weight_fixtures import fresh_pair


@pytest.fixture(params=["darknet", "vgg"])
def pair(request):
    return fresh_pair(request.param)


@pytest.fixture
def darknet():
    return fresh_pair("darknet")


@pytest.fixture
def vgg():
    return fresh_pair("vgg")
