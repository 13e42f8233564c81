"""GARAN, the attention unit of section 3.2 of the paper.

One attention over the positions collects a global feature, a second one diffuses it.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from model.layers.blocks import LayerFactory


@keras.saving.register_keras_serializable("mcn")
class GaranAttention(keras.layers.Layer):
    """The attended feature F_att of an image feature F under an expression fq.

    The channels of F and fq are split into k groups that share all weights. Per group, with F
    flattened over its positions: K, V and S are three projections of F, q is a projection of fq,
    f = Σ softmax(K·q/√(dq/k))·V and F_att = σ(S·q/√(dq/k)) ⊗ f.

    K, V and S are never computed: K·q = F·(W_k q) + b_k·q, and because the softmax weights a sum
    to one, Σ a·V = (Σ a·F)·W_v + b_v. Matrix-vector products thus replace three matrix
    products (h·w, d/k)×(d/k, d/k), with the same result.

    Args:
        groups: number of groups k; divides the channels of F and fq.

    Raises:
        ValueError: when the layer is built, if `groups` does not divide the channels of F and fq.
    """

    def __init__(self, groups: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups

    def build(self, feature_shape: tuple, fq_shape: tuple) -> None:
        channels = (feature_shape[-1], fq_shape[-1])
        if any(count % self.groups for count in channels):
            raise ValueError(
                f"{self.groups} groups do not divide the channels of F and fq, {channels}"
            )
        width, text_width = feature_shape[-1] // self.groups, fq_shape[-1] // self.groups
        for name, rows in (
            ("key", width),
            ("value", width),
            ("score", width),
            ("query", text_width),
        ):
            kernel = self.add_weight(shape=(rows, width), name=f"{name}_kernel")
            bias = self.add_weight(shape=(width,), initializer="zeros", name=f"{name}_bias")
            setattr(self, f"{name}_kernel", kernel)
            setattr(self, f"{name}_bias", bias)

    def attention_maps(self, feature: tf.Tensor, fq: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The attention of the unit.

        Args:
            feature: F (N, h, w, d).
            fq: (N, dq).

        Returns:
            (collect, diffuse), each (N, h, w, k) float32. Collect weights sum to one over the
            positions; diffuse weights lie in 0..1.
        """
        height, width, depth = feature.shape[1:]
        per_group = depth // self.groups
        # (N, HW, k, d/k)
        flat = ops.reshape(feature, (-1, height * width, self.groups, per_group))
        text = ops.reshape(fq, (-1, self.groups, fq.shape[-1] // self.groups))
        query = ops.matmul(text, self.query_kernel) + self.query_bias  # (N, k, d/k)
        query = query / ops.cast(text.shape[-1] ** 0.5, query.dtype)

        def logits(kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
            direction = ops.matmul(query, ops.transpose(kernel))  # (N, k, d/k)
            offset = ops.sum(query * bias, axis=-1)  # (N, k)
            return ops.cast(
                ops.einsum("npkd,nkd->npk", flat, direction) + offset[:, None], "float32"
            )

        collect = ops.softmax(logits(self.key_kernel, self.key_bias), axis=1)
        diffuse = ops.sigmoid(logits(self.score_kernel, self.score_bias))
        grid = (-1, height, width, self.groups)
        return ops.reshape(collect, grid), ops.reshape(diffuse, grid)

    def call(self, feature: tf.Tensor, fq: tf.Tensor) -> tf.Tensor:
        """(N, h, w, d), (N, dq) → (N, h, w, d)."""
        collect, diffuse = self.attention_maps(feature, fq)
        height, width, depth = feature.shape[1:]
        per_group = depth // self.groups
        grouped = ops.reshape(feature, (-1, height * width, self.groups, per_group))
        collect = ops.reshape(ops.cast(collect, feature.dtype), (-1, height * width, self.groups))
        gathered = ops.einsum("npk,npkd->nkd", collect, grouped)  # (N, k, d/k)
        gathered = ops.matmul(gathered, self.value_kernel) + self.value_bias
        diffuse = ops.expand_dims(ops.cast(diffuse, feature.dtype), -1)  # (N, h, w, k, 1)
        spread = diffuse * ops.reshape(gathered, (-1, 1, 1, self.groups, per_group))
        return ops.reshape(spread, (-1, height, width, depth))

    def compute_output_shape(self, feature_shape: tuple, fq_shape: tuple) -> tuple:
        return feature_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}


def build_garan(
    layers: LayerFactory, feature: keras.KerasTensor, fq: keras.KerasTensor, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The attention unit: LeakyReLU(BN(F_att + F)).

    Args:
        layers: creates the layers.
        feature: F (N, h, w, d), d even.
        fq: (N, dq), dq even.
        name: prefix of the layer names: `<name>_attention`, `<name>_bn` and `<name>`.

    Returns:
        (output, F_att), both (N, h, w, d).
    """
    attended = GaranAttention(name=f"{name}_attention")(feature, fq)
    summed = keras.layers.Add(name=f"{name}_add")([attended, feature])
    return layers.bn_leaky(summed, name), attended
