"""Which variation each training sample gets, and its application.

All draws follow from seed, epoch and place in the epoch. A resumed run, and one on several
replicas, therefore sees the same samples. A recipe draws the same whether others are on or off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data.loading.augmentation.color import recolored
from data.loading.augmentation.flip import (
    mirrored_box,
    mirrored_expression,
    mirrored_image,
    mirrored_mask,
)
from data.loading.augmentation.scale import window_at

Box = tuple[int, int, int, int]

_STREAM = 1  # Order and expressions of an epoch are drawn from another one.
_DRAWS = 7  # Per sample: flip, factor, place (2), brightness, contrast, saturation.


@dataclass(frozen=True)
class Variation:
    """The variation of one sample.

    Attributes:
        mirrored: whether it is mirrored.
        factor: by which its image is enlarged.
        place: see `data.loading.augmentation.scale.window_at`.
        colors: factors on brightness, contrast and saturation.
    """

    mirrored: bool = False
    factor: float = 1.0
    place: tuple[float, float] = (0.0, 0.0)
    colors: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def apply(
        self, image: Image.Image, box_xyxy_px: Box, mask_hw: np.ndarray
    ) -> tuple[Image.Image, Box, np.ndarray]:
        """Varies image, box and mask together.

        Args:
            image: in RGB.
            box_xyxy_px: left, top, right, bottom in pixels of the image.
            mask_hw: (h, w) of the size of the image.

        Returns:
            The same three of the varied image, whose size may be another one.
        """
        if self.colors != (1.0, 1.0, 1.0):
            image = recolored(image, *self.colors)
        if self.factor != 1.0:
            window = window_at(image.size, box_xyxy_px, self.factor, self.place)
            image, box_xyxy_px = window.image(image), window.box(box_xyxy_px)
            mask_hw = window.mask(mask_hw)
        if self.mirrored:
            box_xyxy_px = mirrored_box(box_xyxy_px, image.width)
            image, mask_hw = mirrored_image(image), mirrored_mask(mask_hw)
        return image, box_xyxy_px, mask_hw


@dataclass(frozen=True)
class Variations:
    """The variations of the samples of an epoch.

    Attributes:
        expressions: the expression of each sample, mirrored where its image is.
        mirrored: (samples,) bool.
        draws: (samples, 7) float64 in 0..1.
        recipe: which ranges they are mapped to.
    """

    expressions: list[str]
    mirrored: np.ndarray
    draws: np.ndarray
    recipe: "Augmentation"

    def __getitem__(self, position: int) -> Variation:
        """The variation of the sample at a position of the epoch."""
        _, factor, x, y, *colors = self.draws[position].tolist()
        brightness, contrast, saturation = (
            _around_one(color, self.recipe.color_jitter) for color in colors
        )
        return Variation(
            bool(self.mirrored[position]),
            _around_one(factor, self.recipe.scale_jitter),
            (x, y),
            (brightness, contrast, saturation),
        )


@dataclass(frozen=True)
class Augmentation:
    """How training samples are varied; by default, not at all.

    Attributes:
        flip: probability that a sample is mirrored, unless its expression is ambiguous.
        scale_jitter: J, to enlarge by a factor between 1 − J and 1 + J.
        color_jitter: J, for factors on brightness, contrast and saturation between 1 − J and 1 + J.
        seed: determines all draws.
    """

    flip: float = 0.0
    scale_jitter: float = 0.0
    color_jitter: float = 0.0
    seed: int = 0

    def variations(self, epoch: int, expressions: Sequence[str]) -> Variations | None:
        """Draws the variations of an epoch.

        Args:
            epoch: its number.
            expressions: the expression of each sample, in the order of the epoch.

        Returns:
            The variations, or None if every recipe is off.
        """
        if not (self.flip or self.scale_jitter or self.color_jitter):
            return None
        rng = np.random.default_rng([self.seed, epoch, _STREAM])
        draws = rng.random((len(expressions), _DRAWS))
        texts, mirrored = list(expressions), draws[:, 0] < self.flip
        for position in np.flatnonzero(mirrored).tolist():
            text = mirrored_expression(texts[position])
            if text is None:
                mirrored[position] = False
            else:
                texts[position] = text
        return Variations(texts, mirrored, draws, self)


def _around_one(draw: float, jitter: float) -> float:
    """Maps 0..1 to 1 − jitter .. 1 + jitter."""
    return 1.0 + jitter * (2.0 * draw - 1.0)
