"""What a training run is built from: the weights it starts with, and the size of its batches."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from config.errors import UserError
from data.loading.errors import DataError
from model.mcn import build_mcn
from model.weights import save_weights
from tests.tiny import network_config, scramble, weights_of
from utils.training.builder import build_network, build_sets, build_trainer, train
from utils.training.distributed.processes import Processes
from utils.training.step_reader import TrainingError
from utils.training.trainer import Trainer


@pytest.mark.parametrize("trained_on", [None, "coco"])
def test_the_network_starts_from_given_weights_with_a_warning_about_leakage(
    network, tmp_path, capsys, trained_on
):
    path = tmp_path / "start.weights.h5"
    save_weights(network(), path, trained_on=trained_on)
    config = network_config(pretrained_weights=str(path), train_set="anns/refcoco/train.txt")
    built, expected = weights_of(build_network(config)), weights_of(network())
    for name, value in expected.items():
        np.testing.assert_array_equal(built[name], value, err_msg=name)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{path}: ")
    assert ("warning: " in printed) == (trained_on == "coco")


def test_determinism_is_asked_of_tensorflow(tiny_set, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    for deterministic in (0, 1):
        config = tiny_set.config(deterministic=deterministic, anchors_file=str(tmp_path / "none"))
        with pytest.raises((OSError, UserError), match="none"):
            build_trainer(config)
        assert len(asked) == deterministic


def test_every_replica_has_samples_in_every_step(tiny_set):
    strategy = SimpleNamespace(num_replicas_in_sync=2, cluster_resolver=None)
    processes = Processes(strategy)
    training_set, evaluators, _ = build_sets(tiny_set.config())
    grounder = SimpleNamespace(model=None)

    def trainer(batch_size, last_batch):
        config = tiny_set.config(batch_size=batch_size, last_batch=last_batch)
        return Trainer(config, {}, processes, training_set, evaluators, grounder, None, None)

    assert trainer(2, "drop").plan.steps == 2
    assert trainer(2, "wrap").plan.steps == 3
    assert trainer(6, "wrap").plan.steps == 1
    assert trainer(3, "short").plan.steps == 2
    with pytest.raises(TrainingError, match="train_set holds 5 referents, less than batch_size 6"):
        trainer(6, "drop")
    with pytest.raises(
        TrainingError, match="batch_size = 1: each of the 2 replicas needs a sample"
    ):
        trainer(1, "wrap")
    with pytest.raises(TrainingError, match='"short" leaves 1 sample for 2 replicas in the last'):
        trainer(2, "short")


@pytest.mark.slow
def test_files_that_cannot_be_used_stop_a_training_or_are_listed_at_its_end(
    tiny_set, tmp_path, capsys
):
    shutil.copytree(tiny_set.images, tmp_path / "images")
    (tmp_path / "images/b.png").write_bytes(b"")
    changes = {"image_path": str(tmp_path / "images"), "epoches": 1}
    with pytest.raises(DataError, match=r"b\.png: not a readable image"):
        train(tiny_set.config(**changes, log_path=str(tmp_path / "error")))
    state = train(tiny_set.config(**changes, log_path=str(tmp_path / "skip"), on_bad_sample="skip"))
    assert state.epoch == 1
    [listed] = [line for line in capsys.readouterr().err.splitlines() if "b.png" in line]
    assert listed.startswith(f"  {tmp_path}/images/b.png: not a readable image")


@pytest.fixture(scope="module")
def trained(tiny_set, network, tmp_path_factory):
    """The config of a run of one epoch that started from a file."""
    folder = tmp_path_factory.mktemp("trained")
    start = folder / "run/best.weights.h5"
    save_weights(network(), start)
    config = tiny_set.config(
        pretrained_weights=str(start), log_path=str(folder / "log"), epoches=1, free_body=1
    )
    train(config)
    return config


@pytest.fixture
def copied(trained, tmp_path):
    """`copied(name, **changes)`: the config of a copy of that run."""

    def copy(name, **changes):
        shutil.copytree(trained.log_path, tmp_path / name)
        return trained.replace(log_path=str(tmp_path / name), **changes)

    return copy


@pytest.fixture
def other_start(trained, network, tmp_path):
    """Replaces the weights that the run started from, and `other_start()` removes them."""
    start, kept = Path(trained.pretrained_weights), tmp_path / "kept"
    shutil.copy(start, kept)
    save_weights(scramble(build_mcn(network_config()), seed=2), start)
    yield start.unlink
    shutil.copy(kept, start)


@pytest.mark.slow
def test_a_resumed_run_needs_its_own_weights_alone(copied, other_start, tmp_path):
    """Whatever its pretrained_weights name in the meantime, also for the features it caches."""
    cached = train(copied("cached", epoches=2, cache_features=1))
    other_start()
    plain = train(copied("plain", epoches=2))
    losses = [state.history[1]["train"]["loss"] for state in (plain, cached)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    again = build_trainer(copied("again", epoches=2, cache_features=1))
    assert again.training_set.features is not None
    for fresh in ({"overwrite": True}, {"dry_run": True}):
        with pytest.raises(UserError, match=r"pretrained_weights: .*no such file"):
            train(again.config.replace(log_path=str(tmp_path / "new")), **fresh)
