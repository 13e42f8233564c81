"""Bootstrap confidence intervals of ratios of sums, over images.

The expressions of an image are not independent: they share the image and often the object. So
images are drawn with replacement, each with all of its expressions, and the ratio is computed from
the sums of the images drawn.
"""

from collections.abc import Iterator

import numpy as np

RESAMPLES, SEED = 1000, 0
PERCENTILES = (2.5, 97.5)  # An interval of 95 %.
FEWEST_IMAGES = 2
_AT_ONCE = 100  # Resamples whose weights are in memory together.


def ratio_intervals(
    numerators: np.ndarray, denominators: np.ndarray, epsilon: float | np.ndarray = 0.0
) -> np.ndarray:
    """95 % intervals of Σ numerators / Σ denominators over images.

    Args:
        numerators, denominators: (images, k), sums over the expressions of each image, of k ratios.
        epsilon: added to both sums; a number or (k,).

    Returns:
        float64 (2, k), the 2.5th and 97.5th percentile over `RESAMPLES` resamples of the images,
        drawn with a fixed seed. Resamples whose denominator is 0 are left out; NaN if fewer than
        `FEWEST_IMAGES` have another one, because one image says nothing about others.
    """
    bounds = percentiles(resampled_ratios(numerators, denominators, epsilon))
    bounds[:, (denominators > 0).sum(axis=0) < FEWEST_IMAGES] = np.nan
    return bounds


def resampled_ratios(
    numerators: np.ndarray, denominators: np.ndarray, epsilon: float | np.ndarray = 0.0
) -> np.ndarray:
    """The ratios of each resample, float64 (RESAMPLES, k), NaN where the denominator is 0.

    Two calls with the same number of images draw the same ones, so their results are paired.
    """
    parts = []
    for weights in _weights(len(numerators)):  # (m, images)
        above, below = weights @ numerators, weights @ denominators  # (m, k)
        parts.append(
            np.divide(
                above + epsilon, below + epsilon, out=np.full(below.shape, np.nan), where=below > 0
            )
        )
    return np.concatenate(parts)


def percentiles(values: np.ndarray) -> np.ndarray:
    """The `PERCENTILES` of each column of (n, k) without its NaN: (2, k), NaN for NaN alone."""
    result = np.full((len(PERCENTILES), values.shape[1]), np.nan)
    for column in range(values.shape[1]):
        known = values[~np.isnan(values[:, column]), column]
        if len(known):
            result[:, column] = np.percentile(known, PERCENTILES)
    return result


def _weights(images: int) -> Iterator[np.ndarray]:
    """How often each image is drawn in each resample: float64 (m, images) at a time."""
    generator = np.random.default_rng(SEED)
    for start in range(0, RESAMPLES, _AT_ONCE):
        count = min(_AT_ONCE, RESAMPLES - start)
        drawn = generator.integers(0, images, (count, images))
        drawn += images * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images) * 1.0
