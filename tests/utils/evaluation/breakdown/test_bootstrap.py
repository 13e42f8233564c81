"""Intervals of ratios of sums over images."""

import numpy as np
import pytest

from utils.evaluation.breakdown.bootstrap import RESAMPLES, ratio_intervals, resampled_ratios


def plain_ratios(above, below):
    """The same resamples, one image at a time."""
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(RESAMPLES // 100):
        for drawn in generator.integers(0, len(above), (100, len(above))):
            total = sum(below[image] for image in drawn)
            ratios.append(sum(above[image] for image in drawn) / total if total else np.nan)
    return np.array(ratios)


def test_intervals_are_percentiles_of_resampled_images():
    above, below = np.array([1.0, 0, 3, 2, 5]), np.array([2.0, 1, 3, 6, 5])
    expected = plain_ratios(above, below)
    found = resampled_ratios(above[:, None], below[:, None])[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    low, high = ratio_intervals(above[:, None], below[:, None])[:, 0]
    # By sorting, with linear interpolation between neighbors.
    ordered = np.sort(expected)
    for value, share in ((low, 0.025), (high, 0.975)):
        place = share * (RESAMPLES - 1)
        before, part = int(place), place % 1
        wanted = (1 - part) * ordered[before] + part * ordered[before + 1]
        assert value == pytest.approx(wanted, rel=1e-12)


def test_columns_are_independent_and_keep_their_images():
    rng = np.random.default_rng(3)
    above, below = rng.uniform(size=(2, 30, 4))
    together = ratio_intervals(above, below, np.array([0, 0, 0, 1.0]))
    for column in range(3):
        alone = ratio_intervals(above[:, [column]], below[:, [column]])
        np.testing.assert_allclose(together[:, [column]], alone, rtol=1e-12)
    assert (together[:, 3] != ratio_intervals(above[:, [3]], below[:, [3]])[:, 0]).all()


def test_images_without_the_group_are_left_out():
    above, below = np.array([[1.0, 0], [0, 0], [0, 0]]), np.array([[1.0, 0], [0, 0], [0, 0]])
    ratios = resampled_ratios(above, below, 1e-10)
    drawn = ~np.isnan(ratios[:, 0])
    assert 0.6 < drawn.mean() < 0.8  # 1 - (2/3)³ = 0.704
    assert (ratios[drawn, 0] == 1).all()
    assert np.isnan(ratios[:, 1]).all()


@pytest.mark.parametrize(("images", "known"), [(0, False), (1, False), (2, True)])
def test_one_image_has_no_interval(images, known):
    values = np.zeros((5, 1))
    values[:images] = 1
    bounds = ratio_intervals(values, values)[:, 0]
    assert bounds.tolist() == [1, 1] if known else np.isnan(bounds).all()


def test_the_interval_of_a_mean_has_the_width_of_statistics():
    """Half-width 1.96 · σ / √n of the mean over n images with one expression each."""
    values = np.random.default_rng(5).normal(0.5, 0.2, (400, 1))
    low, high = ratio_intervals(values, np.ones((400, 1)))[:, 0]
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
