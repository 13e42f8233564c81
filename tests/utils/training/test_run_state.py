"""The best epoch is the first with the highest accuracy, and NaN is never the best."""

import pytest

from utils.training.run_state import RunState


def test_the_best_epoch_is_kept():
    state = RunState(start := 2)
    assert (state.epoch, state.best_det_acc, state.best_epoch) == (start, None, None)
    seen = []
    for epoch, det_acc in enumerate([0.0, 0.5, 0.5, float("nan"), 0.4, 0.51], start=3):
        improved = state.is_improved_by(det_acc)
        state = state.after(epoch, det_acc)
        assert state.epoch == epoch
        assert improved == (state.best_epoch == epoch)
        seen.append((state.best_det_acc, state.best_epoch))
    assert seen == [(0.0, 3), (0.5, 4), (0.5, 4), (0.5, 4), (0.5, 4), (0.51, 8)]


def test_an_accuracy_that_is_no_number_is_never_the_best():
    assert not RunState().is_improved_by(float("nan"))
    assert RunState().after(1, float("nan")) == RunState(1)


def test_a_worker_that_does_not_validate_keeps_the_best():
    assert RunState(1, 0.5, 1).after(2) == RunState(2, 0.5, 1)


def test_states_do_not_change():
    state = RunState(1)
    with pytest.raises(AttributeError):
        state.epoch = 2
