"""Intervals of ratios of sums over images."""

import itertools

import numpy as np
import pytest

from utils.evaluation.breakdown import bootstrap
from utils.evaluation.breakdown.bootstrap import (
    RESAMPLES,
    ImageSums,
    ratio_intervals,
    resampled_ratios,
)


def sums(above, below, images=None):
    above, below = (np.reshape(np.array(v, float), (len(v), -1)) for v in (above, below))
    return ImageSums(np.arange(len(above)) if images is None else np.array(images), above, below)


@pytest.fixture
def every_resample(monkeypatch):
    """All nⁿ resamples of n images in place of some that are drawn, in two parts."""

    def weights(images):
        drawn = list(itertools.product(range(images), repeat=images))
        counts = np.array([[one.count(image) for image in range(images)] for one in drawn], float)
        yield counts[:5]
        yield counts[5:]

    monkeypatch.setattr(bootstrap, "_weights", weights)


def plain_ratios(above, below):
    """The ratios of all resamples, image by image."""
    n = len(above)
    return [
        sum(above[i] for i in drawn) / sum(below[i] for i in drawn)
        for drawn in itertools.product(range(n), repeat=n)
    ]


def plain_percentile(values, share):
    """By sorting, with linear interpolation between neighbors."""
    ordered, place = sorted(values), share * (len(values) - 1)
    before, part = int(place), place % 1
    return (1 - part) * ordered[before] + part * ordered[min(before + 1, len(ordered) - 1)]


def test_intervals_are_percentiles_of_resampled_images(every_resample):
    above, below = [1.0, 0, 3, 2], [2.0, 1, 3, 6]
    expected = plain_ratios(above, below)
    (found,) = resampled_ratios([sums(above, below)], 4)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)
    (bounds,) = ratio_intervals([sums(above, below)], 4)
    wanted = [plain_percentile(expected, share) for share in (0.025, 0.975)]
    assert bounds[:, 0] == pytest.approx(wanted, rel=1e-12)


def test_a_group_counts_the_images_that_it_is_on(every_resample):
    """As one with sums of 0 on the others."""
    (found,) = resampled_ratios([sums([3, 1], [4, 5], images=[2, 0])], 3)
    expected = []
    for drawn in itertools.product(range(3), repeat=3):
        below = sum([5, 0, 4][i] for i in drawn)
        expected.append(sum([1, 0, 3][i] for i in drawn) / below if below else np.nan)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)


def test_images_are_drawn_with_replacement():
    parts = list(bootstrap._weights(40))
    weights = np.concatenate(parts)
    assert weights.shape == (RESAMPLES, 40)
    assert (weights.sum(axis=1) == 40).all()
    assert len(np.unique(weights, axis=0)) == RESAMPLES
    # Counts of one image are binomial: their mean is 1, their variance 1 - 1/40.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=5 * np.sqrt(0.975 / RESAMPLES))
    assert weights.var() == pytest.approx(0.975, rel=0.05)
    assert (weights == np.concatenate(list(bootstrap._weights(40)))).all()  # The seed is fixed.


def test_memory_is_bounded_without_other_draws(monkeypatch):
    expected = np.concatenate(list(bootstrap._weights(7)))
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 64)
    parts = list(bootstrap._weights(7))
    assert max(map(len, parts)) == 64
    assert (np.concatenate(parts) == expected).all()


def test_all_groups_share_one_draw(monkeypatch):
    """365 groups of thousands of images take no longer than their images."""
    calls = []
    weights = bootstrap._weights
    monkeypatch.setattr(bootstrap, "_weights", lambda n: calls.append(n) or weights(n))
    ratio_intervals([sums([1, 0], [1, 1], images=[g, g + 1]) for g in range(20)], 30)
    assert calls == [30]


def test_columns_are_independent_and_keep_their_images():
    rng = np.random.default_rng(3)
    above, below = rng.uniform(size=(2, 30, 4))
    epsilon = np.array([0, 0, 0, 1.0])
    (together,) = ratio_intervals([sums(above, below)], 30, epsilon)
    for column in range(3):
        (alone,) = ratio_intervals([sums(above[:, column], below[:, column])], 30)
        np.testing.assert_allclose(together[:, [column]], alone, rtol=1e-12)
    (plain,) = ratio_intervals([sums(above[:, 3], below[:, 3])], 30)
    assert (together[:, 3] != plain[:, 0]).all()


def test_resamples_without_the_group_are_left_out():
    (ratios,) = resampled_ratios([sums([[1.0, 0]], [[1.0, 0]], images=[0])], 3, 1e-10)
    drawn = ~np.isnan(ratios[:, 0])
    assert 0.6 < drawn.mean() < 0.8  # 1 - (2/3)³ = 0.704
    assert (ratios[drawn, 0] == 1).all()
    assert np.isnan(ratios[:, 1]).all()


@pytest.mark.parametrize(("images", "known"), [(0, False), (1, False), (2, True)])
def test_one_image_has_no_interval(images, known):
    values = np.zeros(5)
    values[:images] = 1
    bounds = ratio_intervals([sums(values, values)], 5)[0][:, 0]
    assert bounds.tolist() == [1, 1] if known else np.isnan(bounds).all()


def test_the_interval_of_a_mean_has_the_width_of_statistics():
    """Half-width 1.96 · σ / √n of the mean over n images with one expression each."""
    values = np.random.default_rng(5).normal(0.5, 0.2, 400)
    low, high = ratio_intervals([sums(values, np.ones(400))], 400)[0][:, 0]
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
