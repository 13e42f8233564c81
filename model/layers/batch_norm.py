"""Batch normalization whose frozen layers can use either kind of statistics."""

from typing import Any

import keras
import tensorflow as tf

from model.layers.replicas import sum_over_replicas

BN_EPSILON = 1e-3


@keras.saving.register_keras_serializable("mcn")
class BatchNorm(keras.layers.BatchNormalization):
    """BatchNormalization with a choice of statistics for frozen layers.

    Runs on TensorFlow's fused kernel: one pass over memory where Keras makes several, and
    inference fuses it with the preceding convolution. As in that kernel, training updates the
    moving variance with the unbiased variance of the batch. On several replicas, the statistics are
    those of the whole batch, not of the part that a replica has.

    Args:
        frozen_statistics: what a layer with `trainable=False` normalizes with in training.
            "moving": its moving statistics, as in Keras 3, so that training and inference see
            the same features. "batch": the statistics of the batch, as in Keras 2.2.4; the
            moving statistics stay as they are.
        **kwargs: of `keras.layers.BatchNormalization`, except those that the fused kernel cannot
            honor.

    Raises:
        ValueError: `center` or `scale` is False, `axis` is not the last one, or
            `frozen_statistics` is unknown.
    """

    def __init__(self, frozen_statistics: str = "moving", **kwargs: Any) -> None:
        kwargs.setdefault("epsilon", BN_EPSILON)
        super().__init__(**kwargs)
        if not (self.center and self.scale):
            raise ValueError("BatchNorm always centers and scales: `center` and `scale` are True")
        if self.axis != -1:
            raise ValueError(f"BatchNorm normalizes the last axis: axis={self.axis} must be -1")
        if frozen_statistics not in ("moving", "batch"):
            raise ValueError(f'frozen_statistics={frozen_statistics!r} must be "moving" or "batch"')
        self.frozen_statistics = frozen_statistics

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Normalizes (N, H, W, C) or (N, C) over all axes but the last; same shape and dtype."""
        if len(inputs.shape) not in (2, 4):
            raise ValueError(f"BatchNorm takes (N, C) or (N, H, W, C), not {tuple(inputs.shape)}")
        use_batch_stats = bool(training) and (self.trainable or self.frozen_statistics == "batch")
        if use_batch_stats and _replicas() > 1:
            return self._synchronized(inputs)
        if len(inputs.shape) == 4:
            return self._fused(inputs, use_batch_stats)
        # The kernel takes maps only: treat a vector as a 1×1 map.
        return self._fused(inputs[:, None, None, :], use_batch_stats)[:, 0, 0, :]

    def _fused(self, x: tf.Tensor, use_batch_stats: bool) -> tf.Tensor:
        kwargs = {}
        if not use_batch_stats:
            kwargs = {"mean": self.moving_mean, "variance": self.moving_variance}
        output, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            x, self.gamma, self.beta, epsilon=self.epsilon, is_training=use_batch_stats, **kwargs
        )
        if use_batch_stats:
            self._update_moving(mean, variance)
        return output

    def _synchronized(self, x: tf.Tensor) -> tf.Tensor:
        """Normalizes with the statistics of the batch of all replicas, however it is divided."""
        axes = list(range(len(x.shape) - 1))
        values = tf.cast(x, tf.float32)  # Sums overflow in half precision.
        count = tf.cast(tf.size(x) / x.shape[-1], tf.float32)
        count, total = sum_over_replicas([count, tf.reduce_sum(values, axes)])
        mean = total / count
        # The sum of squares would cancel where the mean is large: sum the squared differences.
        [squares] = sum_over_replicas([tf.reduce_sum(tf.square(values - mean), axes)])
        variance = squares / count
        output = tf.nn.batch_normalization(
            values, mean, variance, self.beta, self.gamma, self.epsilon
        )
        self._update_moving(mean, squares / tf.maximum(count - 1.0, 1.0))
        return tf.cast(output, x.dtype)

    def _update_moving(self, mean: tf.Tensor, unbiased_variance: tf.Tensor) -> None:
        if not self.trainable:
            return
        for moving, batch_value in (
            (self.moving_mean, mean),
            (self.moving_variance, unbiased_variance),
        ):
            moving.assign(moving * self.momentum + batch_value * (1.0 - self.momentum))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "frozen_statistics": self.frozen_statistics}


def _replicas() -> int:
    return tf.distribute.get_strategy().num_replicas_in_sync
