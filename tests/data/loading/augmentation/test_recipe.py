"""Which variations samples get, and that batches contain them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from data.loading.augmentation.recipe import Augmentation, Variation
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image, letterbox_mask
from data.loading.pipeline import Share, training_batches
from data.support.datasets import unwrap_errors
from tests.data.loading.test_pipeline import SIDE, batches_of, same_batches, training_set
from tests.tiny import IMAGES

__all__ = ["training_set"]  # A fixture.

ALL = Augmentation(flip=0.5, scale_jitter=0.4, color_jitter=0.3, seed=5)
TEXTS = ["left man", "dog", "right behind it"] * 400


def test_nothing_is_varied_by_default():
    assert Augmentation(seed=3).variations(1, TEXTS) is None


def test_a_variation_that_changes_nothing_returns_what_it_got():
    image, box, mask = Image.new("RGB", (4, 3)), (0, 0, 2, 2), np.zeros((3, 4))
    assert Variation().apply(image, box, mask) == (image, box, mask)


def test_draws_are_within_their_ranges_and_spread():
    variations = ALL.variations(1, TEXTS)
    each = [variations[position] for position in range(len(TEXTS))]
    factors = np.array([v.factor for v in each])
    colors = np.array([v.colors for v in each])
    for values, jitter in ((factors, 0.4), (colors, 0.3)):
        assert values.min() >= 1 - jitter
        assert values.max() <= 1 + jitter
        # Uniform: a standard deviation of jitter / √3 around 1.
        assert np.mean(values) == pytest.approx(1, abs=0.05)
        assert np.std(values) == pytest.approx(jitter / np.sqrt(3), rel=0.1)
    assert np.abs(np.corrcoef(np.column_stack([factors, colors]).T) - np.eye(4)).max() < 0.15


def test_expressions_are_mirrored_where_their_images_are():
    variations = ALL.variations(1, TEXTS)
    for place, text in enumerate(TEXTS):
        mirrored = variations[place].mirrored
        expected = "right man" if mirrored and text == "left man" else text
        assert variations.expressions[place] == expected
    shares = [np.mean([variations[i].mirrored for i in range(k, len(TEXTS), 3)]) for k in range(3)]
    assert shares[:2] == pytest.approx([0.5, 0.5], abs=0.1)
    assert shares[2] == 0  # Ambiguous.


def test_draws_follow_from_seed_epoch_and_place_alone():
    first = ALL.variations(2, TEXTS)
    longer = ALL.variations(2, [*TEXTS, "more"])
    assert all(first[i] == longer[i] for i in range(len(TEXTS)))
    others = [ALL.variations(3, TEXTS), dataclasses.replace(ALL, seed=6).variations(2, TEXTS)]
    assert all(first[0] != other[0] for other in others)
    # Each recipe draws the same, whatever the others do.
    alone = Augmentation(scale_jitter=0.4, seed=5).variations(2, TEXTS)
    assert [alone[i].factor for i in range(9)] == [first[i].factor for i in range(9)]
    assert not alone.mirrored.any()


def test_image_box_and_mask_keep_fitting(tiny_set):
    """An image that shows its own mask, varied: the mask is where the image shows it."""
    rng = np.random.default_rng(1)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:45] = 1
    image = Image.fromarray(np.where(mask[..., None], 255, 0).repeat(3, 2).astype(np.uint8))
    for _ in range(50):
        factor, place = rng.uniform(0.5, 1.5), tuple(rng.random(2).tolist())
        varied = Variation(bool(rng.integers(2)), factor, place).apply(
            image, (30, 10, 45, 20), mask
        )
        pixels, (x1, y1, x2, y2), moved = np.asarray(varied[0])[:, :, 0], *varied[1:]
        np.testing.assert_array_equal(pixels == 255, moved == 1)
        rows, columns = np.nonzero(moved)
        extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert extent == (x1, y1, x2, y2)


def test_a_mirrored_batch_is_that_of_mirrored_files(training_set, tiny_set):
    flipped = dataclasses.replace(training_set, augmentation=Augmentation(flip=1.0))
    order, choice = training_set.plan(3, 6)
    batches = batches_of(flipped, epoch=3)
    samples = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    for row, (index, which) in enumerate(zip(order, choice, strict=True)):
        referent = training_set.referents[index]
        width, height = IMAGES[referent.image]
        pixels = np.asarray(Image.open(tiny_set.images / referent.image))[:, ::-1]
        mask = np.load(tiny_set.masks / f"{referent.mask_id}.npy")[:, ::-1]
        x1, y1, x2, y2 = referent.box_xyxy_px
        geometry = Letterbox.fit(width, height, SIDE)
        box = letterbox_box((width - x2, y1, width - x1, y2), geometry)
        np.testing.assert_array_equal(
            samples["image"][row], letterbox_image(Image.fromarray(pixels), SIDE)
        )
        np.testing.assert_array_equal(samples["mask"][row], letterbox_mask(mask, geometry, 8))
        np.testing.assert_allclose(samples["box_xyxy_px"][row], box, rtol=1e-6)
        words = referent.expressions[which].split()
        other = {"left": "right", "right": "left"}
        for place, word in enumerate(words[:4]):
            expected = tiny_set.words.get(other.get(word, word), 0.0)
            np.testing.assert_allclose(samples["words"][row][place], expected, rtol=1e-6)


def test_a_varied_epoch_can_start_at_any_batch_and_be_divided(training_set):
    varied = dataclasses.replace(training_set, augmentation=ALL)
    whole = batches_of(varied, epoch=2)
    assert not same_batches(whole, batches_of(training_set, epoch=2))
    for first_step in range(1, len(whole)):
        assert same_batches(batches_of(varied, 2, first_step=first_step), whole[first_step:])
    halves = [
        list(
            unwrap_errors(
                training_batches(varied, 2, 2, 1, 1, share=Share(k, 1, 2)).as_numpy_iterator()
            )
        )
        for k in range(2)
    ]
    joined = [
        {key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*halves, strict=True)
    ]
    assert same_batches(joined, whole)
