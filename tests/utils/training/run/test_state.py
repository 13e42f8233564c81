"""The best epoch is the first with the highest accuracy, NaN is never the best, means are exact."""

import json

import pytest

from utils.training.run.state import LossMeans, RunState


def test_the_best_epoch_is_kept():
    state = RunState(start := 2)
    assert (state.epoch, state.best_det_acc, state.best_epoch) == (start, None, None)
    seen = []
    for epoch, det_acc in enumerate([0.0, 0.5, 0.5, float("nan"), 0.4, 0.51], start=3):
        improved = state.is_improved_by(det_acc)
        state = state.after_epoch({"val": det_acc}, det_acc)
        assert state.epoch == epoch
        assert improved == (state.best_epoch == epoch)
        seen.append((state.best_det_acc, state.best_epoch))
    assert seen == [(0.0, 3), (0.5, 4), (0.5, 4), (0.5, 4), (0.5, 4), (0.51, 8)]
    assert [record["epoch"] for record in state.history] == [3, 4, 5, 6, 7, 8]


def test_the_checksum_is_that_of_the_best_weights():
    state = RunState().after_epoch(None, 0.5, "first").after_epoch(None, 0.4)
    assert (state.best_epoch, state.best_checksum) == (1, "first")
    state = state.after_epoch(None, 0.6, "third")
    assert (state.best_epoch, state.best_checksum) == (3, "third")
    assert state.without_best() == RunState(3)


def test_a_state_of_an_earlier_version_has_no_checksum():
    values = RunState(2, best_det_acc=0.5, best_epoch=1).to_dict()
    del values["best_checksum"]
    assert RunState.from_dict(values).best_checksum is None


def test_an_accuracy_that_is_no_number_is_never_the_best():
    assert not RunState().is_improved_by(float("nan"))
    assert RunState().after_epoch(None, float("nan")) == RunState(1)


def test_a_worker_that_does_not_validate_keeps_the_best():
    assert RunState(1, best_det_acc=0.5, best_epoch=1).after_epoch() == RunState(
        2, best_det_acc=0.5, best_epoch=1
    )


def test_an_epoch_begins_without_what_belongs_to_the_last_one():
    losses = LossMeans().with_step({"loss": 1.0}, 2.0)
    state = RunState(1, step=7, losses=losses, seconds=3.0, skipped=2, settings={"lr": 0.1})
    assert state.after_epoch() == RunState(2, skipped=2, settings={"lr": 0.1})


def test_states_do_not_change():
    state = RunState(1)
    with pytest.raises(AttributeError):
        state.epoch = 2


def test_means_are_over_samples():
    means = LossMeans().with_step({"loss": 3.0}, 2.0).with_step({"loss": 0.0}, 1.0)
    assert means.result() == {"loss": 2.0}
    assert means.samples == 3.0
    assert LossMeans().result() == {}


def test_a_state_passes_through_json_exactly():
    losses = LossMeans().with_step({"loss": 0.1, "xy": 1 / 3}, 3.0)
    state = RunState(2, 5, losses, 1.25, 1, 0.1 + 0.2, 2, "1f", [{"epoch": 1}], {"steps": [1, 2]})
    assert RunState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    with pytest.raises(TypeError):
        RunState.from_dict({"epochs": 1})
