"""A page with a tiny network, which all tests of this folder visit over HTTP."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.utils.page.client import Client, open_page


@pytest.fixture(scope="session")
def run_folder(network, tiny_set, tmp_path_factory):
    """What training leaves: weights and settings."""
    pytest.importorskip("gradio", reason="pip install -r requirements-page.txt")
    from model.weights import save_weights

    folder = tmp_path_factory.mktemp("page_run")
    save_weights(network(), folder / "best.weights.h5")
    (folder / "config.json").write_text(json.dumps(tiny_set.config().to_dict()))
    return folder


@pytest.fixture(scope="session")
def server(run_folder, tmp_path_factory):
    """An open `Page`."""
    with open_page(run_folder, tmp_path_factory.mktemp("page_tmp")) as page:
        yield page


@pytest.fixture
def client(server):
    return Client(server.port)


@pytest.fixture(scope="session")
def png():
    """`png(width, height, seed)`: the bytes of a picture."""

    def made(width=80, height=60, seed=0):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    return made
