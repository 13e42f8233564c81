"""The best epoch is the first with the highest accuracy, NaN is never the best, means are exact."""

import json

import pytest

from config.run_folder import BEST_EMA, BEST_SEG
from config.run_folder import BEST_WEIGHTS as BEST
from utils.training.run.state import Best, LossMeans, RunState


def improved_by(state, score, checksum=None, file=BEST):
    """The bests to add to a state after an epoch with this score."""
    if not state.is_improved_by(score, file):
        return {}
    return {file: Best(score, state.epoch + 1, checksum)}


def test_the_best_epoch_is_kept():
    state = RunState(start := 2)
    assert (state.epoch, state.best_det_acc, state.best_epoch) == (start, None, None)
    seen = []
    for epoch, det_acc in enumerate([0.0, 0.5, 0.5, float("nan"), 0.4, 0.51], start=3):
        improved = state.is_improved_by(det_acc)
        state = state.after_epoch({"val": det_acc}, improved_by(state, det_acc))
        assert state.epoch == epoch
        assert improved == (state.best_epoch == epoch)
        seen.append((state.best_det_acc, state.best_epoch))
    assert seen == [(0.0, 3), (0.5, 4), (0.5, 4), (0.5, 4), (0.5, 4), (0.51, 8)]
    assert [record["epoch"] for record in state.history] == [3, 4, 5, 6, 7, 8]


def test_each_file_has_a_best_of_its_own():
    state = RunState()
    for box, mask in ((0.5, 0.2), (0.4, 0.3), (0.6, 0.1)):
        bests = improved_by(state, box) | improved_by(state, mask, file=BEST_SEG)
        state = state.after_epoch(None, bests)
    assert state.bests == {BEST: Best(0.6, 3), BEST_SEG: Best(0.3, 2)}
    assert state.without_best(BEST_SEG).bests == {BEST: Best(0.6, 3)}
    assert state.without_best().bests == {BEST_SEG: Best(0.3, 2)}
    assert state.without_best(BEST_EMA) == state


def test_a_state_of_an_earlier_version_knows_one_best():
    values = RunState(2).to_dict()
    del values["bests"]
    earlier = {"best_det_acc": 0.5, "best_epoch": 1, "best_checksum": "1f"}
    assert RunState.from_dict(values | earlier).bests == {BEST: Best(0.5, 1, "1f")}
    del earlier["best_checksum"]
    assert RunState.from_dict(values | earlier).bests == {BEST: Best(0.5, 1, None)}
    assert RunState.from_dict(values | dict.fromkeys(earlier)).bests == {}


def test_an_accuracy_that_is_no_number_is_never_the_best():
    assert not RunState().is_improved_by(float("nan"))


def test_a_worker_that_does_not_validate_keeps_the_best():
    bests = {BEST: Best(0.5, 1)}
    assert RunState(1, bests=bests).after_epoch() == RunState(2, bests=bests)


def test_an_epoch_begins_without_what_belongs_to_the_last_one():
    losses = LossMeans().with_step({"loss": 1.0}, 2.0)
    state = RunState(1, step=7, losses=losses, seconds=3.0, skipped=2, settings={"lr": 0.1})
    assert state.after_epoch() == RunState(2, steps_before=7, skipped=2, settings={"lr": 0.1})


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
    bests = {BEST: Best(0.1 + 0.2, 2, "1f"), BEST_EMA: Best(0.3, 1)}
    state = RunState(2, 5, losses, 1.25, 1, [{"epoch": 1}], {"steps": [1, 2]}, bests)
    assert RunState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    with pytest.raises(TypeError):
        RunState.from_dict({"epochs": 1})
