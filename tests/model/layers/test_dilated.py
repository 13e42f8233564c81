"""Cropped taps compute the dilated convolution, forward and backward."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.layers.dilated import DilatedConv2D


@pytest.mark.parametrize(("shape", "dilation"), [((13, 13), 5), ((13, 9), 4), ((12, 12), 11)])
def test_cropped_equals_the_library(shape, dilation):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, *shape, 256)), tf.float32)
    settings = {"filters": 4, "kernel_size": 3, "padding": "same", "dilation_rate": dilation}
    ours = DilatedConv2D(**settings, use_bias=True)
    plain = keras.layers.Conv2D(**settings, use_bias=True)
    for layer in (ours, plain):
        layer.build(x.shape)
    plain.set_weights([0.02 * rng.normal(size=w.shape) for w in ours.get_weights()])
    ours.set_weights(plain.get_weights())
    assert ours.crops_taps_of(x.shape)
    results = []
    for layer in (ours, plain):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.sin(y))
        results.append((y, *tape.gradient(loss, [x, layer.kernel.value])))
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "channels", "dilation", "crops"),
    [
        (52, 512, 6, False),
        (52, 512, 12, True),
        (52, 512, 18, True),
        (52, 128, 18, False),
        (16, 512, 18, False),
    ],
)
def test_crops_where_it_is_faster(side, channels, dilation, crops):
    layer = DilatedConv2D(4, 3, padding="same", dilation_rate=dilation)
    assert layer.crops_taps_of((None, side, side, channels)) is crops
    plain = DilatedConv2D.from_config({**layer.get_config(), "crop_taps": False})
    assert not plain.crops_taps_of((None, side, side, channels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"padding": "valid"}, "padding='valid', not \"same\""),
        ({"dilation_rate": (18, 3)}, r"one dilation, not \(18, 3\)"),
        ({"strides": 2, "dilation_rate": 1}, "stride 1"),
        ({"groups": 2}, "one group"),
        ({"data_format": "channels_first"}, "takes channels last, not 'channels_first'"),
    ],
)
def test_settings_that_are_not_computed_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DilatedConv2D(4, 3, **{"padding": "same", "dilation_rate": 2, **settings})
