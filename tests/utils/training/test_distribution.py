"""Which process writes, and what is split; test_trainer.py runs several replicas."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from utils.training.distribution import distribute, is_chief, make_strategy


def of_task(kind, number):
    resolver = None if kind is None else SimpleNamespace(task_type=kind, task_id=number)
    return SimpleNamespace(cluster_resolver=resolver)


@pytest.mark.parametrize(
    ("kind", "number", "chief"),
    [
        (None, None, True),
        ("", None, True),
        ("chief", 0, True),
        ("worker", 0, True),
        ("worker", 1, False),
        ("evaluator", 0, False),
    ],
)
def test_one_process_of_a_run_writes(kind, number, chief):
    assert is_chief(of_task(kind, number)) == chief


def test_one_device():
    strategy = make_strategy("one")
    assert strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)
    dataset = tf.data.Dataset.range(4).batch(2)
    assert distribute(strategy, dataset) is dataset


def test_mirrored_without_gpus_is_one_replica_that_writes():
    strategy = make_strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert is_chief(strategy)
