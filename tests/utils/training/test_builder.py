"""What a training run is built from: the weights it starts with, and the size of its batches."""

from types import SimpleNamespace

import numpy as np
import pytest

from model.weights import save_weights
from tests.tiny import network_config, weights_of
from utils.training.builder import build_network, build_sets
from utils.training.trainer import Trainer, TrainingError


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


def test_several_replicas_need_complete_batches(tiny_set):
    strategy = SimpleNamespace(num_replicas_in_sync=2, cluster_resolver=None)
    training_set, evaluator = build_sets(tiny_set.config())
    grounder = SimpleNamespace(model=None)

    def trainer(batch_size):
        config = tiny_set.config(batch_size=batch_size)
        return Trainer(config, {}, strategy, training_set, evaluator, grounder, None, None)

    assert trainer(2).steps_per_epoch == 2
    with pytest.raises(TrainingError, match="train_set holds 5 referents, less than batch_size 6"):
        trainer(6)
