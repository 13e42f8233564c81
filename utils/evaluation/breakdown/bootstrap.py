"""Bootstrap confidence intervals of ratios of sums, over images.

The expressions of an image are not independent: they share the image and often the object. So
images are drawn with replacement, each with all of its expressions, and the ratio is computed from
the sums of the images drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES, SEED = 1000, 0
PERCENTILES = (2.5, 97.5)  # An interval of 95 %.
FEWEST_IMAGES = 2
_AT_ONCE = 100  # Resamples whose weights are in memory together.


@dataclass(frozen=True, eq=False)
class ImageSums:
    """Numerators and denominators of k ratios for each image that a group of expressions is on.

    Attributes:
        images: (m,) int, their numbers, each once.
        numerators, denominators: (m, k), sums over the expressions of the group on each image.
    """

    images: np.ndarray
    numerators: np.ndarray
    denominators: np.ndarray


def ratio_intervals(
    groups: Sequence[ImageSums], n_images: int, epsilon: float | np.ndarray = 0.0
) -> list[np.ndarray]:
    """95 % intervals of Σ numerators / Σ denominators of each group, over the images of a set.

    Args:
        groups: groups of expressions of the set.
        n_images: number of images of the set, of which a group may lack some.
        epsilon: added to both sums; a number or (k,).

    Returns:
        For each group float64 (2, k), the 2.5th and 97.5th percentile over `RESAMPLES` resamples of
        the images of the set, drawn with a fixed seed. Resamples whose denominator is 0 are left
        out; NaN if fewer than `FEWEST_IMAGES` have another one, because one image says nothing
        about others.
    """
    found = []
    for group, ratios in zip(groups, resampled_ratios(groups, n_images, epsilon), strict=True):
        bounds = percentiles(ratios)
        bounds[:, (group.denominators > 0).sum(axis=0) < FEWEST_IMAGES] = np.nan
        found.append(bounds)
    return found


def resampled_ratios(
    groups: Sequence[ImageSums], n_images: int, epsilon: float | np.ndarray = 0.0
) -> list[np.ndarray]:
    """The ratios of each resample, NaN where the denominator is 0; arguments of `ratio_intervals`.

    Returns:
        For each group float64 (RESAMPLES, k). All are computed on the same resamples, so they are
        paired.
    """
    parts: list[list[np.ndarray]] = [[] for _ in groups]
    for weights in _weights(n_images):  # (m, n_images), drawn once for all groups
        for group, ratios in zip(groups, parts, strict=True):
            counts = weights[:, group.images]
            above, below = counts @ group.numerators, counts @ group.denominators  # (m, k)
            unknown = np.full(below.shape, np.nan)
            ratios.append(np.divide(above + epsilon, below + epsilon, out=unknown, where=below > 0))
    return [np.concatenate(ratios) for ratios in parts]


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
