"""Loss terms, gradients, targets and BatchNorm against the published implementation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.layers.batch_norm import BatchNorm
from model.losses import background_mask, l2_penalty, mcn_losses
from model.targets import box_targets
from model.weights.layouts import mcn_slots
from tests.parity.published import GOLDEN, manifest

pytestmark = pytest.mark.slow

ANCHORS = np.array([(137, 256), (248, 272), (386, 271)], np.float32)
TOLERANCE = 1e-4


def loss_terms(outputs, loss):
    return mcn_losses(outputs, loss["targets"], loss["masks"], ANCHORS, 416, mask_weight=0.1)


@pytest.fixture(scope="module")
def on_golden_outputs(published):
    """Terms and gradients on the outputs that the published network computed."""
    forward = published.forward
    outputs = {
        name: tf.constant(forward[key])
        for name, key in (("boxes", "y"), ("mask", "E"), ("co_energy", "co_energy"))
    }
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        terms = loss_terms(outputs, published.loss)
        total = tf.add_n(list(terms.values()))
    return terms, total, tape.gradient(total, outputs)


@pytest.mark.parametrize(
    ("term", "key", "factor"),
    [
        ("xy", "xy", 1),
        ("wh", "wh", 1),
        ("confidence", "conf", 1),
        ("mask", "seg_unweighted", 0.1),
        ("cem", "cem", 1),
    ],
)
def test_term(published, on_golden_outputs, term, key, factor, record_property):
    ours, golden = float(on_golden_outputs[0][term]), factor * float(published.loss[key])
    record_property("relative_error", abs(ours / golden - 1))
    assert ours == pytest.approx(golden, rel=1e-5)


def test_total(published, on_golden_outputs, record_property):
    ours, golden = float(on_golden_outputs[1]), float(published.loss["loss"][0])
    record_property("relative_error", abs(ours / golden - 1))
    assert ours == pytest.approx(golden, rel=1e-5)


@pytest.mark.parametrize(
    ("output", "key"), [("boxes", "grad_y"), ("mask", "grad_E"), ("co_energy", "grad_co")]
)
def test_gradient_on_output(published, on_golden_outputs, output, key, record_property):
    golden, ours = published.loss[key], on_golden_outputs[2][output].numpy()
    error = float(np.max(np.abs(ours - golden)) / np.max(np.abs(golden)))
    record_property("relative_error", error)
    assert error < 1e-5


def test_background_mask(published):
    ours = background_mask(published.forward["y"], published.loss["targets"], ANCHORS, 416)
    golden = published.loss["ignore_mask"][..., 0]
    assert (golden == 0).sum() > 0
    np.testing.assert_array_equal(ours, golden)


def test_targets_of_the_loss(published):
    ours = box_targets(published.loss["boxes"][:, 0], ANCHORS, 416)
    np.testing.assert_array_equal(ours, published.loss["targets"])


def test_l2_penalty(published, record_property):
    ours = float(l2_penalty(published.model.trainable_variables))
    golden = float(published.loss["l2_regularizer_sum"])
    record_property("relative_error", abs(ours / golden - 1))
    assert ours == pytest.approx(golden, rel=1e-5)


def test_gradient_norms_through_the_network(published, record_property):
    """d loss / d weight of all weights, backbone included, in the inference phase."""
    model, (image, words) = published.model, published.inputs
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        outputs = model({"image": image, "words": words}, training=False)
        total = tf.add_n(list(loss_terms(outputs, published.loss).values()))
    assert float(total) == pytest.approx(
        float(published.loss["loss_via_training_model"][0]), rel=TOLERANCE
    )
    squares = {
        id(v): float(tf.reduce_sum(tf.square(tf.cast(g, tf.float64))))
        for v, g in zip(variables, tape.gradient(total, [v.value for v in variables]), strict=True)
    }
    golden = dict(zip(published.loss["gradnorm_names"], published.loss["gradnorm"], strict=True))
    ours = {}
    layers = [layer for layer in manifest(published.backbone)["layers"] if layer["weights"]]
    for slot, layer in zip(mcn_slots(model), layers, strict=True):
        for targets, weight in zip(slot.targets, layer["weights"], strict=True):
            ours[weight["name"]] = np.sqrt(sum(squares.get(id(v), 0.0) for v in targets))
    # A bias in front of a softmax has no gradient: both sides hold rounding noise there.
    noise = 1e-6
    errors = {name: abs(ours[name] / norm - 1) for name, norm in golden.items() if norm > noise}
    assert len(errors) == len(golden) - 4
    record_property("relative_error", max(errors.values()))
    for name, norm in golden.items():
        assert ours[name] == pytest.approx(norm, rel=5e-4, abs=noise), name


def test_targets_exactly():
    golden = np.load(GOLDEN / "golden_targets.npz")
    expected = np.zeros((299, 13, 13, 3, 5), np.float32)
    expected[tuple(golden["idx_bjik"].T)] = golden["vals"]
    ours = box_targets(golden["boxes"][:, 0], golden["anchors"], 416)
    np.testing.assert_array_equal(ours, expected)


def golden_batch_norm(shape):
    """The layer of golden_bn.npz before it was trained."""
    layer = BatchNorm(frozen_statistics="batch", momentum=0.99, name="bn")
    layer.build(shape)
    layer.set_weights(
        [np.array(v, np.float32) for v in
         ((1.1, 0.9, 1), (0.1, -0.2, 0.3), (0.5, 0.6, 0.7), (1.5, 1.2, 0.9))]
    )  # fmt: skip
    return layer


@pytest.mark.parametrize("case", ["x4", "x2"])
def test_frozen_batch_norm_with_batch_statistics(case, record_property):
    golden = np.load(GOLDEN / "golden_bn.npz")
    x = golden[case]
    layer = golden_batch_norm(x.shape)
    layer.trainable = False
    trained, tested = layer(x, training=True), layer(x, training=False)
    for ours, phase in ((trained, "train"), (tested, "test")):
        expected = golden[f"{case}_frozen1_out_{phase}"]
        error = float(np.max(np.abs(keras.ops.convert_to_numpy(ours) - expected)))
        record_property(f"absolute_error_{phase}", error)
        assert error < 1e-5
    np.testing.assert_array_equal(layer.moving_mean, golden[f"{case}_frozen1_mm_after"])
    np.testing.assert_array_equal(layer.moving_variance, golden[f"{case}_frozen1_mv_after"])


@pytest.mark.parametrize("case", ["x4", "x2"])
def test_trained_batch_norm_normalizes_with_the_batch(case):
    golden = np.load(GOLDEN / "golden_bn.npz")
    layer = golden_batch_norm(golden[case].shape)
    trained = layer(golden[case], training=True)
    np.testing.assert_allclose(trained, golden[f"{case}_frozen0_out_train"], atol=1e-5)


@pytest.mark.parametrize("case", ["seq4", "seq2"])
def test_moving_statistics_differ_from_the_published_ones_by_known_factors(case):
    """There, the share of the initial values is removed, and variances are corrected otherwise."""
    golden = np.load(GOLDEN / "golden_bn.npz")
    batches = golden[f"{case}_x"]
    layer = golden_batch_norm(batches.shape[1:])
    initial = [np.array(layer.moving_mean), np.array(layer.moving_variance)]
    n = np.prod(batches.shape[1:-1])
    correction = (n if case == "seq4" else n - 1) / (n - 1.001)
    for step, batch in enumerate(batches):
        layer(batch, training=True)
        share = 0.99 ** (step + 1)
        moving = [np.array(layer.moving_mean), np.array(layer.moving_variance)]
        mean, variance = (
            (now - share * before) / (1 - share)
            for now, before in zip(moving, initial, strict=True)
        )
        np.testing.assert_allclose(mean, golden[f"{case}_mm"][step], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variance * correction, golden[f"{case}_mv"][step], rtol=1e-4)
