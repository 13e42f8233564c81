"""Thousands of training steps: memory stays flat and nothing is traced anew."""

import gc

import pytest
import tensorflow as tf

from data.loading.annotations import write_annotations
from data.loading.pipeline import TrainingSet
from tests.limits import resident_bytes
from utils.training.builder import build_trainer

EPOCH_STEPS, BATCH_SIZE = 25, 2
GROWTH = 0.02


def traces():
    """How often each `tf.function` has been traced, by its id."""
    gc.collect()
    kind = type(tf.function(lambda: None))
    functions = [thing for thing in gc.get_objects() if type(thing) is kind]
    return {id(function): function.experimental_get_tracing_count() for function in functions}


def observed_training(tiny_set, tmp_path, monkeypatch, steps, cached):
    """Trains for a number of steps.

    Returns:
        Resident memory in bytes and `traces`, before each epoch.
    """
    referents = [tiny_set.train[i % len(tiny_set.train)] for i in range(EPOCH_STEPS * BATCH_SIZE)]
    write_annotations(tmp_path / "train.txt", referents)
    config = tiny_set.config(
        train_set=str(tmp_path / "train.txt"),
        log_path=str(tmp_path / "log"),
        batch_size=BATCH_SIZE,
        epoches=steps // EPOCH_STEPS,
        free_body=1,
        cache_features=cached,
    )
    memory, traced = [], []
    plan = TrainingSet.plan

    def observed(training_set, epoch, samples=None):
        if epoch > len(memory):
            traced.append(traces())
            memory.append(resident_bytes())
        return plan(training_set, epoch, samples)

    monkeypatch.setattr(TrainingSet, "plan", observed)
    trainer = build_trainer(config)
    trainer.run()
    assert len(memory) == steps // EPOCH_STEPS
    return [*memory, resident_bytes()], [*traced, traces()]


def assert_steady(memory, traced):
    print([f"{size / 1e6:.0f} MB" for size in memory], [len(counts) for counts in traced])
    assert memory[-1] <= memory[0] * (1 + GROWTH)
    assert traced[0]
    again = {name for name, count in traced[0].items() if traced[-1].get(name, count) != count}
    assert not again
    assert len(traced[-1]) <= len(traced[0])


@pytest.mark.slow
@pytest.mark.parametrize("cached", [0, 1])
def test_memory_and_traces_stay_while_training(tiny_set, tmp_path, monkeypatch, cached):
    memory, traced = observed_training(tiny_set, tmp_path, monkeypatch, 100, cached)
    assert_steady(memory[2:], traced[2:])  # After 50 steps.


@pytest.mark.soak
@pytest.mark.parametrize("cached", [0, 1])
def test_memory_is_flat_over_two_thousand_steps(tiny_set, tmp_path, monkeypatch, cached):
    memory, traced = observed_training(tiny_set, tmp_path, monkeypatch, 2000, cached)
    assert_steady(memory[8:], traced[8:])  # After 200 steps.
