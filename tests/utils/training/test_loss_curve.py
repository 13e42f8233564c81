"""The demo recipe gives the recorded losses; see loss_curve.py."""

import numpy as np
import pytest

from tests.utils.training import loss_curve

pytestmark = pytest.mark.slow

# Last step of a range, and the relative difference of the loss that is allowed in it. Rounding
# differs with the number of threads and the kernels that TensorFlow selects for a CPU, and every
# step amplifies the difference. The figures are three to five times the largest differences that
# were measured: 6e-6, 4e-5, 6e-4, 2e-3 and 1.2e-2, without oneDNN; one thread instead of two and
# oneDNN's kernels for AVX2 make a smaller one. A learning rate that is 1 % higher changes the loss
# by 2e-4, 1e-3, 4e-3, 7e-3 and 2e-2.
ALLOWED = [(5, 3e-5), (10, 2e-4), (20, 2e-3), (30, 1e-2), (50, 4e-2)]
# Terms differ more than their sum, those of the boxes most, and the L2 term least.
FACTORS = {"xy": 10, "wh": 10, "confidence": 2, "mask": 2, "cem": 2, "l2": 2e-3, "loss": 1}


def test_the_demo_recipe_gives_the_recorded_losses(tmp_path):
    recorded, found = loss_curve.read(), loss_curve.losses(loss_curve.prepare(tmp_path))
    assert found.shape == recorded.shape == (loss_curve.STEPS, len(loss_curve.TERMS))
    assert faults(found, recorded) == []


def faults(found, recorded):
    """Steps and terms beyond what is allowed, as text."""
    steps, allowed = np.arange(len(recorded)), np.empty(len(recorded))
    for last, value in reversed(ALLOWED):
        allowed[steps < last] = value
    allowed = np.outer(allowed, [FACTORS[term] for term in loss_curve.TERMS])
    allowed = np.maximum(allowed, 1e-6)  # A few units in the last place of float32.
    difference = np.abs(found / recorded - 1)
    return [
        f"step {step + 1}: {loss_curve.TERMS[term]} {found[step, term]:.7g} instead of "
        f"{recorded[step, term]:.7g}, differs by {difference[step, term]:.1e}, "
        f"allowed are {allowed[step, term]:.0e}"
        for step, term in np.argwhere(difference > allowed)
    ]
