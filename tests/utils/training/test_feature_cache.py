"""Training on cached features computes the same as training on images."""

import numpy as np
import pytest

from config.schema import ConfigError
from data.loading.pipeline import training_batches
from tests.tiny import network_config, weights_of
from utils.training.builder import build_trainer

pytestmark = pytest.mark.slow


def frozen_config(tiny_set, log_path, **changes):
    settings = {"free_body": 1, "rnn_drop_out": 0.1, "epoches": 1}
    return tiny_set.config(log_path=str(log_path), **(settings | changes))


@pytest.mark.parametrize("free_body", [1, 2])
def test_same_weights_with_and_without_cache(tiny_set, tmp_path, free_body):
    trained = []
    for name, cache in (("cached", 1), ("plain", 0)):
        config = frozen_config(tiny_set, tmp_path / name, free_body=free_body, cache_features=cache)
        trainer = build_trainer(config)
        record = trainer.train_epoch(1)
        trained.append((record["loss"], weights_of(trainer.model)))
    (loss, cached), (plain_loss, plain) = trained
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    for path, value in cached.items():
        np.testing.assert_allclose(value, plain[path], rtol=1e-3, atol=2e-4, err_msg=path)


def test_the_cache_is_reused_and_rejected_with_other_weights(tiny_set, tmp_path, capsys):
    folder = str(tmp_path / "features")
    config = frozen_config(tiny_set, tmp_path / "log", cache_features=1, cache_dir=folder)
    build_trainer(config)
    assert "computing features of" in capsys.readouterr().out
    trainer = build_trainer(config)
    assert "computing features of" not in capsys.readouterr().out
    batch = next(iter(training_batches(trainer.training_set, 1, 2, 1, 1)))
    assert "image" not in batch
    assert batch["feature_0"].shape[0] == 2
    build_trainer(config.replace(seed=config.seed + 1))
    assert "contained features of other weights; computing them again" in capsys.readouterr().out


@pytest.mark.parametrize("setting", [{"free_body": 0}, {"free_body": 1, "frozen_bn": "batch"}])
def test_features_that_change_are_refused(setting):
    with pytest.raises(ConfigError, match="cache_features"):
        network_config().replace(cache_features=1, **setting)
