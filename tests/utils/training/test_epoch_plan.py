"""Batches and parts of batches that are too small are refused before training."""

import pytest

from tests.tiny import network_config
from utils.training.epoch_plan import plan_epoch
from utils.training.step_reader import TrainingError


def plan(available, replicas=1, **settings):
    config = network_config(**{"batch_size": 8, "last_batch": "short"} | settings)
    return plan_epoch(config, available, replicas)


@pytest.mark.parametrize(
    ("available", "parts", "replicas"), [(12, 2, 1), (14, 3, 1), (9, 1, 1), (12, 2, 2), (11, 1, 3)]
)
def test_last_batches_with_two_samples_in_each_part(available, parts, replicas):
    sizes = plan(available, replicas, accumulate_steps=parts).batch_sizes
    assert sizes == [8, available - 8]


@pytest.mark.parametrize(
    ("available", "parts", "replicas"), [(11, 2, 1), (13, 3, 1), (9, 2, 1), (11, 2, 2)]
)
def test_last_batches_with_one_sample_in_a_part(available, parts, replicas):
    with pytest.raises(TrainingError, match=r"leaves .* for the parts of accumulate_steps in the"):
        plan(available, replicas, accumulate_steps=parts)
