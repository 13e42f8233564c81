"""Blocks shared by the whole network: CBL, BatchNorm, hard sigmoid.

Channels are last everywhere. Every layer gets an explicit name, since weight files find their
place by it.
"""

import keras
import tensorflow as tf
from keras import ops

from model.layers.dilated import DilatedConv2D

BN_EPSILON = 1e-3
LEAKY_SLOPE = 0.1


@keras.saving.register_keras_serializable("mcn")
def hard_sigmoid(x):
    """clip(0.2·x + 0.5, 0, 1): the gate of Keras 2.2.4 (Keras 3's own has slope 1/6)."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@keras.saving.register_keras_serializable("mcn")
class BatchNorm(keras.layers.BatchNormalization):
    """BatchNormalization with a choice of statistics for frozen layers.

    Feature maps go through TensorFlow's fused kernel, one pass over memory where Keras makes
    several, which inference joins to the convolution in front of it. Like that kernel, training
    moves the moving variance by the unbiased estimate of the batch.

    Args:
        frozen_statistics: what a layer with `trainable=False` normalises with in training.
            "moving" as in Keras 3, so that training and inference see the same features;
            "batch" as in Keras 2.2.4, which normalised with the batch's own mean and variance
            and left the moving statistics as they were.
    """

    def __init__(self, frozen_statistics="moving", **kwargs):
        kwargs.setdefault("epsilon", BN_EPSILON)
        super().__init__(**kwargs)
        self.frozen_statistics = frozen_statistics

    def call(self, inputs, training=None, mask=None):
        of_batch = bool(training) and (self.trainable or self.frozen_statistics == "batch")
        if of_batch and self.trainable and self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        if len(inputs.shape) == 4:
            return self._fused(inputs, of_batch)
        # Vectors as 1×1 maps.
        return self._fused(inputs[:, None, None, :], of_batch)[:, 0, 0, :]

    def _fused(self, x, of_batch):
        kwargs = {} if of_batch else {"mean": self.moving_mean, "variance": self.moving_variance}
        output, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            x, self.gamma, self.beta, epsilon=self.epsilon, is_training=of_batch, **kwargs
        )
        if of_batch and self.trainable:
            for moving, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + seen * (1.0 - self.momentum))
        return output

    def get_config(self):
        return {**super().get_config(), "frozen_statistics": self.frozen_statistics}


class LayerFactory:
    """Makes the layers that recur, with the settings that they share in one network.

    Args:
        weight_decay: L2 factor on the kernels of convolutions.
        bn_momentum: momentum of BatchNorm's moving statistics.
        frozen_bn: "moving" or "batch", see `BatchNorm`.
        synchronized: whether BatchNorm shares its batch statistics among replicas.
    """

    def __init__(self, weight_decay=5e-4, bn_momentum=0.99, frozen_bn="moving", synchronized=False):
        self.weight_decay = weight_decay
        self.bn_settings = {
            "momentum": bn_momentum,
            "frozen_statistics": frozen_bn,
            "synchronized": synchronized,
        }

    def conv(self, x, filters, size, name, *, decay=True, **kwargs):
        """Conv2D on (N, H, W, C), `same` padding unless told otherwise, L2 on its kernel."""
        regularizer = keras.regularizers.L2(self.weight_decay) if decay else None
        kwargs = {"padding": "same", "kernel_regularizer": regularizer, **kwargs}
        kind = DilatedConv2D if kwargs.get("dilation_rate", 1) != 1 else keras.layers.Conv2D
        return kind(filters, size, name=name, **kwargs)(x)

    def batch_norm(self, name):
        return BatchNorm(name=name, **self.bn_settings)

    def bn_leaky(self, x, name):
        """BatchNorm, then LeakyReLU with slope 0.1; layers `<name>_bn` and `<name>`."""
        x = self.batch_norm(f"{name}_bn")(x)
        return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=name)(x)

    def cbl(self, x, filters, size, name, **kwargs):
        """Conv2D without bias → BatchNorm → LeakyReLU; layers `<name>_conv`, `_bn`, `<name>`."""
        x = self.conv(x, filters, size, f"{name}_conv", use_bias=False, **kwargs)
        return self.bn_leaky(x, name)
