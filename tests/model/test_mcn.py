"""The whole network: inputs and outputs, freezing, saving and loading, its three parts."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.losses import mcn_losses
from model.mcn import build_mcn, encode_image, encode_text, ground, visual_backbone
from model.targets import box_targets
from model.weights.layouts import mcn_slots
from tests.parity.published import manifest
from tests.tiny import ANCHORS, network_config, outputs_of, random_batch, weights_of

VARIANTS = {
    "darknet": {},
    "vgg": {"backbone": "vgg", "rnn_cell": "gru", "bidirectional": 0, "lang_att": 0},
}


@pytest.fixture(params=VARIANTS)
def variant(request, network):
    """(config, network) of one of `VARIANTS`."""
    settings = VARIANTS[request.param]
    return network_config(**settings), network(**settings)


def shapes_and_types(tensors):
    return {
        name: (tuple(t.shape)[1:], keras.backend.standardize_dtype(t.dtype))
        for name, t in tensors.items()
    }


def test_inputs_and_outputs(variant):
    config, model = variant
    side = config.input_size
    assert shapes_and_types(model.input) == {
        "image": ((side, side, 3), "float32"),
        "words": ((config.word_len, config.embed_dim), "float32"),
    }
    expected = {
        "boxes": ((side // 32, side // 32, 15), "float32"),
        "mask": ((side // 8, side // 8, 1), "float32"),
        "co_energy": ((1,), "float32"),
    }
    assert shapes_and_types(model.output) == expected
    outputs = model(random_batch(config))
    assert shapes_and_types(outputs) == expected
    assert all(np.isfinite(value).all() for value in outputs.values())


def test_samples_are_independent(variant):
    config, model = variant
    batch = random_batch(config)
    both = {"image": [0, 1, 0, 1], "words": [0, 1, 1, 0]}
    result = outputs_of(model, {key: batch[key][rows] for key, rows in both.items()})
    alone = outputs_of(model, {key: batch[key][1:] for key in both})
    for name, value in result.items():
        np.testing.assert_allclose(value[1], alone[name][0], atol=2e-5)
        for first, second, other in ((0, 1, "both"), (0, 2, "words"), (1, 2, "image")):
            assert np.abs(value[first] - value[second]).max() > 1e-4, (name, other)


def test_seed_decides_the_initial_weights():
    one, same = (build_mcn(network_config(seed=1, **VARIANTS["vgg"])) for _ in range(2))
    other = build_mcn(network_config(seed=2, **VARIANTS["vgg"]))
    weights, again, different = weights_of(one), weights_of(same), weights_of(other)
    assert weights.keys() == again.keys()  # names are independent of earlier networks
    assert all(np.array_equal(weights[path], again[path]) for path in weights)
    assert any(not np.array_equal(weights[path], different[path]) for path in weights)
    assert [layer.name for layer in one.layers] == [layer.name for layer in same.layers]
    assert len(weights) == len(one.weights)  # paths are unique


def test_building_leaves_global_random_generators_alone():
    expected = weights_of(build_mcn(network_config()))
    draws = []
    for build in (False, True):
        keras.utils.set_random_seed(7)
        built = weights_of(build_mcn(network_config())) if build else expected
        assert all(np.array_equal(built[path], expected[path]) for path in expected)
        draws.append(
            (
                random.random(),
                np.random.random(),
                float(keras.random.uniform(())),
                float(tf.random.uniform(())),
            )
        )
    assert draws[0] == draws[1]


FROZEN = {"free_body": 1, "frozen_bn": "batch"}


@pytest.mark.slow
def test_saved_as_keras_file_and_loaded(network, tmp_path):
    config, model = network_config(**FROZEN), network(**FROZEN)
    model.save(tmp_path / "mcn.keras")
    loaded = keras.models.load_model(tmp_path / "mcn.keras")
    batch = random_batch(config)
    expected, result = outputs_of(model, batch), outputs_of(loaded, batch)
    for name in expected:
        np.testing.assert_array_equal(result[name], expected[name])
    flags = {layer.name: layer.trainable for layer in model.layers}
    assert {layer.name: layer.trainable for layer in loaded.layers} == flags
    assert loaded.get_layer("backbone_1_bn").frozen_statistics == "batch"
    decayed = [v.path for v in model.weights if v.regularizer]
    assert [v.path for v in loaded.weights if v.regularizer] == decayed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("mixed_float16", 0.15), ("mixed_bfloat16", 0.5)]
)
def test_mixed_precision(network, precision, tolerance):
    before = keras.config.dtype_policy()
    model, full = network(precision=precision), network(**VARIANTS["darknet"])
    assert keras.config.dtype_policy() == before
    assert model.get_layer("fusion_1_conv").compute_dtype == precision.removeprefix("mixed_")
    assert all(variable.dtype == "float32" for variable in model.trainable_variables)
    batch = random_batch(network_config())
    expected, result = outputs_of(full, batch), outputs_of(model, batch)
    trained = outputs_of(model, batch, training=True)
    for name in expected:
        assert result[name].dtype == trained[name].dtype == np.float32
        assert np.isfinite(trained[name]).all()
        assert np.abs(result[name] - expected[name]).max() < tolerance * np.ptp(expected[name])


def test_parts_compose_to_the_whole(variant):
    config, model = variant
    batch = random_batch(config, n=3)
    expected = outputs_of(model, batch)
    features = encode_image(model)(batch["image"])
    text_features = tf.nest.flatten(encode_text(model)(batch["words"]))
    assert [feature.shape for feature in text_features] == [(3, config.rnn_hidden_size)]
    result = ground(model)([*features, *text_features])
    assert set(result) == {"boxes", "mask"}
    for name, value in result.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)
    # Several expressions of one image, which is encoded once.
    rows = [1, 1, 1]
    result = ground(model)([*(tf.gather(feature, rows) for feature in features), *text_features])
    expected = outputs_of(model, {**batch, "image": batch["image"][rows]})
    for name, value in result.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_parts_share_the_weights(network):
    model = network(**VARIANTS["darknet"])
    parts = [encode_image(model), encode_text(model), ground(model)]
    ours = {id(variable) for variable in model.weights}
    theirs = {id(variable) for part in parts for variable in part.weights}
    assert theirs <= ours
    left = {v.path.split("/")[0] for v in model.weights if id(v) not in theirs}
    assert left == {"cem_mask", "cem_box"}  # only training uses the co-energy


def test_visual_backbone_ends_at_the_features(network):
    for name, side_channels in (("darknet", (32, 16)), ("vgg", (32, 32))):
        part = visual_backbone(network(**VARIANTS[name]))
        shapes = [tuple(t.shape)[1:] for t in part.outputs]
        assert shapes == [(3, 3, 64), (6, 6, side_channels[0]), (12, 12, side_channels[1])]
        assert all(v.path.startswith("backbone_") for v in part.weights)


@pytest.mark.parametrize("backbone", ["darknet", "vgg"])
def test_free_body_1_freezes_what_the_published_one_did(backbone):
    blocks = [1, 2, 8, 8, 4] if backbone == "darknet" else [1, 1, 1, 1, 1]
    config = network_config(
        backbone=backbone, backbone_width=0.03125, jemb_dim=32, backbone_blocks=blocks, free_body=1
    )
    model = build_mcn(config)
    published = [layer for layer in manifest(backbone)["layers"] if layer["weights"]]
    trainable = {id(variable) for variable in model.trainable_variables}
    for slot, layer in zip(mcn_slots(model), published, strict=True):
        statistics = slot.kind == "bn"
        trained = slot.targets[:2] if statistics else slot.targets
        expected = not layer["frozen_by_freeze_body_1"]
        for variables in trained:
            assert [id(v) in trainable for v in variables] == [expected] * len(variables), slot
    frozen = [layer["layer_name"] for layer in published if layer["frozen_by_freeze_body_1"]]
    assert len(frozen) == {"darknet": 2 * 56, "vgg": 13 + 2 * 5}[backbone]


def test_free_body_0_and_2(network):
    assert all(layer.trainable for layer in network(**VARIANTS["darknet"]).layers)
    output_only = network(free_body=2)
    names = {v.path.split("/")[0] for v in output_only.trainable_variables}
    assert names == {"box_logits", "mask_logits"}
    assert len(output_only.trainable_variables) == 4


@pytest.mark.parametrize("frozen_bn", ["moving", "batch"])
def test_frozen_bn_decides_how_a_frozen_backbone_normalizes(network, frozen_bn):
    model = network(**(FROZEN | {"frozen_bn": frozen_bn}))
    part = visual_backbone(model)
    fv2_of = keras.Model(part.input, part.outputs[1])
    image = random_batch(network_config())["image"]
    training, inference = (np.array(fv2_of(image, training=t)) for t in (True, False))
    assert np.allclose(training, inference, atol=1e-5) == (frozen_bn == "moving")


# A constant added to all logits of a softmax has no effect.
WITHOUT_EFFECT = {
    "garan_mask_attention/key_bias",
    "garan_box_attention/key_bias",
    "cem_mask/bias",
    "cem_box/bias",
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_weight_has_a_gradient(network, name):
    """Gradients of all loss terms in inference mode, without weight decay."""
    config, model = network_config(**VARIANTS[name]), network(**VARIANTS[name])
    variables = model.trainable_variables
    boxes = np.array([(8, 8, 48, 48), (30, 20, 90, 80)], np.float32)
    mask = np.random.default_rng(0).integers(0, 2, (2, 12, 12, 1))
    with tf.GradientTape() as tape:
        outputs = model(random_batch(config), training=False)
        targets = box_targets(boxes, ANCHORS, config.input_size)
        terms = mcn_losses(outputs, targets, mask, ANCHORS, config.input_size, 0.1)
        # With random weights, attended features are similar and gradients of the energy small.
        terms["cem"] *= 1000.0
        total = tf.add_n([*terms.values()])
    gradients = tape.gradient(total, [variable.value for variable in variables])
    assert [v.path for v, g in zip(variables, gradients, strict=True) if g is None] == []
    sizes = {v.path: float(tf.norm(g)) for v, g in zip(variables, gradients, strict=True)}
    assert all(np.isfinite(size) for size in sizes.values())
    assert {path for path, size in sizes.items() if size < 5e-4} == WITHOUT_EFFECT
