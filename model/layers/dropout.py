"""Dropout whose masks do not depend on how a batch is divided into replicas."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from model.layers.replicas import rows_of_batch


def dropout_mask(
    shape: Sequence[int | tf.Tensor],
    batch_axis: int,
    rate: float,
    seed: keras.random.SeedGenerator,
    dtype: tf.DType,
) -> tf.Tensor:
    """Draws the mask for this replica's part of a batch: 0, or 1 / (1 − rate).

    Args:
        shape: of the mask; along `batch_axis`, the number of rows of the part.
        batch_axis: the axis of the batch.
        rate: share of zeros.
        seed: advances by one, on every replica.
        dtype: of the mask.
    """
    rows, before = rows_of_batch(tf.convert_to_tensor(shape[batch_axis]))
    # Each replica draws the mask of the whole batch, as one replica would, and takes its part.
    whole = [*shape[:batch_axis], rows, *shape[batch_axis + 1 :]]
    begin = [before if axis == batch_axis else 0 for axis in range(len(shape))]
    mask = keras.random.dropout(tf.ones(whole, dtype), rate, seed=seed)
    return tf.slice(mask, begin, shape)


@keras.saving.register_keras_serializable("mcn")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` on (N, ...) without a `noise_shape`."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drops values in training; same shape and dtype."""
        if not training or not self.rate:
            return inputs
        shape = [tf.shape(inputs)[0], *inputs.shape[1:]]
        return inputs * dropout_mask(shape, 0, self.rate, self.seed_generator, inputs.dtype)
