"""The learning rate of every step."""

import json

import pytest

from tests.parity.published import GOLDEN
from utils.training.schedule import learning_rate


def rate(epoch, step=0, steps_per_epoch=10, **changes):
    settings = {"initial": 1e-3, "epochs": 45, "schedule": "steps", "divide_at": [30, 35, 40]}
    return learning_rate(epoch, step, steps_per_epoch, **(settings | changes))


def test_published_schedule():
    golden = json.loads((GOLDEN / "golden_lr_schedule.json").read_text())["one_based_epoch_to_lr"]
    assert len(golden) == 45
    for epoch, expected in golden.items():
        for step in (0, 9):
            assert rate(int(epoch), step) == pytest.approx(expected, rel=1e-9)


def test_without_steps_the_rate_stays():
    assert {rate(epoch, divide_at=[]) for epoch in (1, 45)} == {1e-3}


def test_cosine_goes_from_the_initial_rate_to_zero():
    rates = [rate(e, s, epochs=4, schedule="cosine") for e in range(1, 5) for s in range(10)]
    assert rates[0] == 1e-3
    assert rates[20] == pytest.approx(0.5e-3)  # half-way
    assert rates[10] == pytest.approx(1e-3 * (1 + 0.5**0.5) / 2)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 1e-5
    assert rate(5, 0, epochs=4, schedule="cosine") == pytest.approx(0, abs=1e-12)


def test_warm_up_rises_linearly_over_steps_of_several_epochs():
    rates = [rate(e, s, steps_per_epoch=2, warmup=4) for e in (1, 2, 3) for s in (0, 1)]
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3])


@pytest.mark.parametrize("schedule", ["steps", "cosine"])
def test_warm_up_scales_the_schedule(schedule):
    for epoch in (1, 2, 30):
        plain = rate(epoch, 3, schedule=schedule)
        factor = min(((epoch - 1) * 10 + 4) / 40, 1)
        assert rate(epoch, 3, schedule=schedule, warmup=40) == pytest.approx(factor * plain)
