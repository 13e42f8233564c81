"""Every term of the loss on cases that can be computed by hand."""

import numpy as np
import pytest
import tensorflow as tf

from model.losses import (
    LOSS_TERMS,
    LossInputs,
    background_mask,
    l2_penalty,
    loss_term,
    mcn_losses,
    smooth_l1,
)
from model.targets import box_targets

ANCHORS = np.array([(20, 24), (40, 40), (60, 50)], np.float32)
BOX = (8, 8, 48, 48)  # anchor 1 exactly; center (28, 28) in cell (0, 0), 7/8 of the way
SIZE = 96


def cross_entropy(label, logit):
    p = 1 / (1 + np.exp(-logit))
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


def targets_of(*boxes):
    return box_targets(np.array(boxes, np.float32), ANCHORS, SIZE)


def quiet_grid(n=1):
    """Raw boxes that have low confidence and are too small to overlap anything."""
    raw = np.zeros((n, 3, 3, 3, 5), np.float32)
    raw[..., 2:4], raw[..., 4] = -5, -4
    return raw


def detection(raw, targets):
    inputs = LossInputs({"boxes": raw}, targets, None, ANCHORS, SIZE)
    return {name: float(LOSS_TERMS[name](inputs)) for name in ("xy", "wh", "confidence")}


@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (0.05, 4.5 * 0.05**2), (1 / 9, 1 / 18), (-1, 1 - 1 / 18), (3, 3 - 1 / 18)]
)
def test_smooth_l1(x, y):
    assert float(smooth_l1(tf.constant(float(x)))) == pytest.approx(y)


def test_box_terms_by_hand():
    raw = quiet_grid()
    raw[0, 0, 0, 1] = (0.3, -0.2, 0.05, -0.5, 1.5)
    result = detection(raw, targets_of(BOX))
    weight = 2 - (40 / 96) ** 2
    xy = cross_entropy(0.875, 0.3) + cross_entropy(0.875, -0.2)
    assert result["xy"] == pytest.approx(weight * xy, rel=1e-5)
    wh = 4.5 * 0.05**2 + (0.5 - 1 / 18)
    assert result["wh"] == pytest.approx(0.5 * weight * wh, rel=1e-5)
    confidence = cross_entropy(1, 1.5) + 26 * cross_entropy(0, -4)
    assert result["confidence"] == pytest.approx(confidence, rel=1e-5)


def test_a_box_that_overlaps_by_half_is_ignored():
    targets = targets_of(BOX)
    raw = quiet_grid()
    # Another anchor of the same cell, decoded to the true box: center 16 + …, width 40.
    raw[0, 0, 0, 0] = (np.log(7), np.log(7), np.log(2), np.log(40 / 24), 3)
    mask = np.array(background_mask(raw, targets, ANCHORS, SIZE))
    assert mask[0, 0, 0, 0] == 0
    assert mask.sum() == 26
    ignored = detection(raw, targets)["confidence"]
    raw[0, 0, 0, 0, 4] = 7
    assert detection(raw, targets)["confidence"] == pytest.approx(ignored)
    raw[0, 0, 0, 0, 2] = -5  # it no longer overlaps and counts as background
    assert detection(raw, targets)["confidence"] > ignored + 6.9


@pytest.mark.parametrize(("factor", "counted"), [(1.98, 0), (2.02, 1)])
def test_the_threshold_is_one_half(factor, counted):
    raw = quiet_grid()
    raw[0, 1, 1, 1] = (0, 0, np.log(factor), 0, 0)  # factor·40×40 around (48, 48)
    targets = np.zeros((1, 3, 3, 3, 5), np.float32)
    targets[0, 1, 1, 2] = (0.5, 0.5, 40 / 96, 40 / 96, 1)
    mask = np.array(background_mask(raw, targets, ANCHORS, SIZE))
    assert mask[0, 1, 1, 1] == counted


@pytest.mark.parametrize("size", [96, 416, 704, 736, 928])
def test_the_offset_of_a_center_on_a_cell_border_is_zero(size):
    grid = size // 32
    boxes = np.array([(32 * i - 8, 10, 32 * i + 8, 20) for i in range(1, grid)], np.float32)
    targets = box_targets(boxes, ANCHORS, size)
    raw = np.zeros((grid - 1, grid, grid, 15), np.float32)
    raw.reshape(grid - 1, grid, grid, 3, 5)[..., 0] = -20  # σ = 0: right for an offset of zero
    xy = LOSS_TERMS["xy"](LossInputs({"boxes": raw}, targets, None, ANCHORS, size))
    weight = 2 - 16 * 10 / size**2
    expected = (grid - 1) * weight * cross_entropy(15 / 32, 0.0)
    assert float(xy) == pytest.approx(expected, rel=1e-4)


def test_the_assigned_anchor_always_counts():
    raw = quiet_grid()
    raw[0, 0, 0, 1] = (np.log(7), np.log(7), 0, 0, -2)  # the true box itself, with low confidence
    result = detection(raw, targets_of(BOX))["confidence"]
    assert result == pytest.approx(cross_entropy(1, -2) + 26 * cross_entropy(0, -4), rel=1e-5)


def test_samples_are_compared_with_their_own_box():
    raw = quiet_grid(2)
    raw[:, 0, 0, 0] = (np.log(7), np.log(7), np.log(2), np.log(40 / 24), 3)
    mask = np.array(background_mask(raw, targets_of(BOX, (70, 70, 90, 90)), ANCHORS, SIZE))
    assert mask[:, 0, 0, 0].tolist() == [0, 1]


def outputs(n=2, seed=0, **changes):
    rng = np.random.default_rng(seed)
    made = {
        "boxes": rng.normal(size=(n, 3, 3, 15)),
        "mask": rng.normal(size=(n, 12, 12, 1)),
        "co_energy": rng.uniform(0.2, 0.8, size=(n, 1)),
    }
    return {name: tf.constant(value, tf.float32) for name, value in (made | changes).items()}


def losses(given, boxes, mask, weight=0.1, **kwargs):
    return mcn_losses(given, targets_of(*boxes), mask, ANCHORS, SIZE, weight, **kwargs)


def masks(n=2):
    return np.random.default_rng(1).integers(0, 2, (n, 12, 12, 1)).astype(np.uint8)


def test_mask_and_energy_terms_by_hand():
    given = outputs()
    result = losses(given, (BOX, BOX), masks())
    pixels = cross_entropy(masks().astype(float), np.array(given["mask"], np.float64))
    assert float(result["mask"]) == pytest.approx(0.1 * pixels.sum() / 2, rel=1e-5)
    energy = -np.log(np.array(given["co_energy"], np.float64) + 1e-6).sum() / 2
    assert float(result["cem"]) == pytest.approx(energy, rel=1e-5)
    assert list(result) == ["xy", "wh", "confidence", "mask", "cem"]


def test_weights_scale_the_terms_of_their_task_alone():
    given, boxes = outputs(), (BOX, (40, 20, 90, 80))
    before = losses(given, boxes, masks())
    scaled = losses(given, boxes, masks(), weight=0.05, detection_weight=3.0, cem_weight=2.0)
    factors = {"xy": 3, "wh": 3, "confidence": 3, "mask": 0.5, "cem": 2}
    for name, factor in factors.items():
        assert float(scaled[name]) == pytest.approx(factor * float(before[name]), rel=1e-6), name
    off = losses(given, boxes, masks(), weight=0.0, detection_weight=0.0, cem_weight=0.0)
    assert {float(term) for term in off.values()} == {0.0}


def test_terms_are_sums_over_samples_divided_by_their_number():
    given, boxes = outputs(), (BOX, (40, 20, 90, 80))
    together = losses(given, boxes, masks())
    alone = [
        losses({k: v[i : i + 1] for k, v in given.items()}, boxes[i : i + 1], masks()[i : i + 1])
        for i in range(2)
    ]
    for name in LOSS_TERMS:
        mean = (float(alone[0][name]) + float(alone[1][name])) / 2
        assert float(together[name]) == pytest.approx(mean, rel=1e-5)


def test_a_registered_term_is_part_of_the_loss(monkeypatch):
    monkeypatch.setattr("model.losses.LOSS_TERMS", dict(LOSS_TERMS))
    loss_term("size")(lambda inputs: tf.constant(6.0) * inputs.input_size)
    result = losses(outputs(), (BOX, BOX), masks())
    assert float(result["size"]) == 6.0 * SIZE / 2
    with pytest.raises(ValueError, match="'size' is registered already"):
        loss_term("size")(lambda inputs: tf.constant(0.0))


def test_a_replica_divides_by_the_whole_batch():
    given = outputs()
    by_two, by_eight = (
        losses(given, (BOX, BOX), masks(), batch_size=size) for size in (None, tf.constant(8.0))
    )
    for name in LOSS_TERMS:
        assert float(by_eight[name]) == pytest.approx(float(by_two[name]) / 4, rel=1e-6)


EMPTY = (20, 20, 20, 40)


@pytest.mark.parametrize("boxes", [(BOX, EMPTY), (EMPTY, EMPTY)])
@pytest.mark.parametrize("energy", [0.0, 1.0])
def test_gradients_are_finite_without_a_box_and_at_the_ends_of_the_energy(boxes, energy):
    given = outputs(co_energy=np.full((2, 1), energy))
    with tf.GradientTape() as tape:
        tape.watch(given)
        result = losses(given, boxes, masks())
        total = tf.add_n(list(result.values()))
    assert np.isfinite(float(total))
    for name, gradient in tape.gradient(total, given).items():
        assert np.isfinite(gradient).all(), name
        assert np.any(gradient), name
    if boxes == (EMPTY, EMPTY):
        assert float(result["xy"]) == float(result["wh"]) == 0


def test_a_grid_without_an_object_is_all_background():
    raw = quiet_grid()
    result = detection(raw, targets_of(EMPTY))
    assert result["confidence"] == pytest.approx(27 * cross_entropy(0, -4), rel=1e-5)


def test_l2_penalty():
    import keras

    regularizer = keras.regularizers.L2(0.5)
    decayed = keras.Variable([1.0, 2.0])
    decayed.regularizer = regularizer
    other = keras.Variable([5.0])
    other.regularizer = None
    assert float(l2_penalty([decayed, other])) == pytest.approx(2.5)
    assert float(l2_penalty([other])) == 0.0
