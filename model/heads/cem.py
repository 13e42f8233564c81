"""Consistency Energy Maximization, section 3.3 of the paper: both branches attend to one place."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from model.layers.blocks import LayerFactory

SIMILARITY_EPSILON = 1e-6


@keras.saving.register_keras_serializable("mcn")
class CoEnergy(keras.layers.Layer):
    """E_sᵀ C E_c, one number per sample.

    E_s and E_c are softmax distributions over the positions of the two attended features. C
    holds the cosine similarity c of every pair of positions, mapped to (c + 1)/2 and clipped to
    [1e-6, 1 − 1e-6].
    """

    def __init__(self, **kwargs: Any) -> None:
        # Products of thousands of small probabilities need float32 under any dtype policy.
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(
        self,
        mask_energy: tf.Tensor,
        box_energy: tf.Tensor,
        mask_feature: tf.Tensor,
        box_feature: tf.Tensor,
    ) -> tf.Tensor:
        """(N, H, W, 1), (N, h, w, 1), (N, H, W, d), (N, h, w, d) → (N, 1)."""
        mask_weights = ops.softmax(_flat(mask_energy), axis=1)  # (N, HW, 1)
        box_weights = ops.softmax(_flat(box_energy), axis=1)  # (N, hw, 1)
        similarity = ops.matmul(
            _normalized(_flat(mask_feature)),
            ops.transpose(_normalized(_flat(box_feature)), (0, 2, 1)),
        )  # (N, HW, hw)
        similarity = ops.clip(
            (similarity + 1.0) / 2.0, SIMILARITY_EPSILON, 1.0 - SIMILARITY_EPSILON
        )
        gathered = ops.matmul(ops.transpose(mask_weights, (0, 2, 1)), similarity)  # (N, 1, hw)
        return ops.matmul(gathered, box_weights)[:, 0]

    def compute_output_shape(self, mask_energy_shape: tuple, *_: tuple) -> tuple[int | None, int]:
        return (mask_energy_shape[0], 1)


def _flat(x: tf.Tensor) -> tf.Tensor:
    return ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))


def _normalized(x: tf.Tensor) -> tf.Tensor:
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, SIMILARITY_EPSILON))


def build_co_energy(
    layers: LayerFactory, mask_feature: keras.KerasTensor, box_feature: keras.KerasTensor
) -> keras.KerasTensor:
    """The co-energy (N, 1) float32 of the attended features A_seg and A_det."""
    mask_energy = layers.conv(mask_feature, 1, 1, "cem_mask", decay=False)
    box_energy = layers.conv(box_feature, 1, 1, "cem_box", decay=False)
    return CoEnergy(name="co_energy")(mask_energy, box_energy, mask_feature, box_feature)
