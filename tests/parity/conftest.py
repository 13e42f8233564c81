"""One network and one checkpoint a backbone for all parity tests: both are large."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.parity.published import GOLDEN, network_inputs, write_checkpoint


@pytest.fixture(scope="session", params=["darknet", "vgg"])
def published(request, tmp_path_factory):
    """A network filled from the checkpoint behind the golden figures, with those figures."""
    from config.schema import Config
    from model.mcn import build_mcn
    from model.weights import load_weights

    backbone = request.param
    path = tmp_path_factory.mktemp(backbone) / "checkpoint.h5"
    write_checkpoint(path, backbone)
    model = build_mcn(Config(backbone=backbone, rnn_cell="gru", free_body=0))
    report = load_weights(model, path)
    path.unlink()
    return SimpleNamespace(
        backbone=backbone,
        model=model,
        report=report,
        inputs=network_inputs(),
        forward=np.load(GOLDEN / f"golden_forward_{backbone}_seed0.npz"),
        loss=np.load(GOLDEN / f"golden_loss_{backbone}_seed0.npz"),
    )


@pytest.fixture
def record_property(record_property):
    """Records a measured error as a float of Python, since NumPy's cannot leave a test process."""
    return lambda name, value: record_property(name, float(value))
