"""The network and its evaluation as published, the reference of the benchmarks.

The network concatenates feature maps before each convolution on the finer grid, computes keys,
values and scores of the attention, and consists of Keras' own layers. The evaluation loads the
image, runs the whole network and decodes once per expression.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from PIL import Image

from benchmarks.sets import ANCHORS_PX, SyntheticSet
from config.schema import Config
from data.loading.letterbox import Letterbox, letterbox_box, letterbox_image
from model.backbones import build_backbone
from model.decode import best_box, round_box
from model.heads.cem import build_co_energy
from model.heads.detection import build_box_logits, build_reduce
from model.heads.fusion import build_fusion, build_visual_residual
from model.heads.segmentation import build_aspp
from model.layers.batch_norm import BN_EPSILON
from model.layers.blocks import LEAKY_SLOPE, LayerFactory
from model.mcn import ANCHORS_PER_CELL
from model.text_encoders.recurrent import build_language_feature
from model.weights.layouts import mcn_slots
from utils.evaluation.metrics import Metrics, Result, detection_iou, mask_iou
from utils.prediction.masks import place_mask


class PlainFactory(LayerFactory):
    """Keras' own convolution and BatchNormalization for every layer."""

    def conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        size: int,
        name: str,
        *,
        decay: bool = True,
        **kwargs: Any,
    ) -> keras.KerasTensor:
        kwargs = {"padding": "same", **kwargs}
        return keras.layers.Conv2D(filters, size, name=name, **kwargs)(x)

    def batch_norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.BatchNormalization(epsilon=BN_EPSILON, name=name)


def build_plain_mcn(config: Config, mcn: keras.Model) -> keras.Model:
    """Builds the network as published, with the weights of a network of `build_mcn`.

    Args:
        config: the settings of both networks.
        mcn: network of `build_mcn`.

    Returns:
        keras.Model with the inputs and outputs of `build_mcn`.
    """
    layers = PlainFactory()
    image = keras.Input((config.input_size, config.input_size, 3), name="image")
    words = keras.Input((config.word_len, config.embed_dim), name="words")
    fv1, fv2, fv3 = build_backbone(layers, image, config).features
    visual = build_visual_residual(layers, fv1, config.head_width)
    fq = build_language_feature(words, config.rnn_cell, config.rnn_hidden_size)
    wide, narrow = round(512 * config.head_width), round(256 * config.head_width)
    fm = build_fusion(layers, visual, fq)
    fm2 = _merge(layers, fm, fv2, wide, 2)
    fm3 = _merge(layers, fm2, fv3, wide, 3)
    fm3, attended_mask = _garan(layers, fm3, fq, "garan_mask")
    mask = build_aspp(layers, fm3, narrow, config.aspp_dilations)
    d2 = build_reduce(layers, fm3, fm2, wide, 2)
    d1 = layers.cbl(build_reduce(layers, d2, fm, wide, 1), wide, 1, "box_in")
    d1, attended_box = _garan(layers, d1, fq, "garan_box")
    boxes = build_box_logits(layers, d1, ANCHORS_PER_CELL)
    energy = build_co_energy(layers, attended_mask, attended_box)
    outputs = {"boxes": boxes, "mask": mask, "co_energy": energy}
    plain = keras.Model({"image": image, "words": words}, outputs)
    for slot in mcn_slots(mcn):
        arrays = [
            np.concatenate([ops.convert_to_numpy(v) for v in variables], axis=-2)
            if len(variables) > 1
            else ops.convert_to_numpy(variables[0])
            for variables in slot.targets
        ]
        plain.get_layer(slot.layer.replace(".", "_")).set_weights(arrays)
    return plain


def evaluate_plainly(
    predict: Callable[..., dict[str, tf.Tensor]], data: SyntheticSet, config: Config
) -> Result:
    """Evaluates a network expression by expression.

    Args:
        predict: function of image (1, S, S, 3) and words (1, T, D) to the outputs of the network.
        data: the set.
        config: the settings.

    Returns:
        dict of `utils.evaluation.metrics.Metrics.result`.
    """
    metrics, size, words = Metrics(config.det_acc_thresh), config.input_size, data.words
    for referent, mask in zip(data.referents, data.masks, strict=True):
        for expression in referent.expressions:
            image = Image.open(f"{data.folder}/{referent.image}").convert("RGB")
            geometry = Letterbox.fit(*image.size, size)
            pixels = letterbox_image(image, size).astype(np.float32)[None] / 255.0
            vectors = words.lookup(words.encode(expression, config.word_len)[None])
            outputs = predict(pixels, vectors)
            box, score = best_box(outputs["boxes"], ANCHORS_PX, size)
            rounded = round_box(box, size).numpy()
            probability = ops.convert_to_numpy(ops.sigmoid(outputs["mask"][..., 0]))
            placed = place_mask(
                probability[0], rounded[0], float(score[0]), geometry, bool(config.use_nls)
            )
            true_box = letterbox_box(referent.box_xyxy_px, geometry)
            metrics.update(
                detection_iou(rounded[0], true_box),
                *mask_iou(placed > config.segment_thresh, mask),
            )
    return metrics.result()


def _merge(
    layers: LayerFactory,
    coarse: keras.KerasTensor,
    fine: keras.KerasTensor,
    filters: int,
    index: int,
) -> keras.KerasTensor:
    coarse = keras.layers.UpSampling2D(2, interpolation="nearest")(coarse)
    fine = layers.cbl(fine, fine.shape[-1], 1, f"lateral_{index}")
    joined = keras.layers.Concatenate()([coarse, fine])
    joined = layers.conv(joined, filters, 1, f"merge_{index}", use_bias=False)
    joined = layers.batch_norm(f"merge_{index}_bn")(joined)
    return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE)(joined)


def _garan(
    layers: LayerFactory,
    feature: keras.KerasTensor,
    fq: keras.KerasTensor,
    name: str,
    groups: int = 2,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Attention with keys, values and scores of all positions; groups are stacked as a batch."""
    _, height, width, depth = feature.shape
    stacked = ops.concatenate(ops.split(feature, groups, axis=-1), axis=0)
    text = ops.concatenate(ops.split(fq, groups, axis=-1), axis=0)
    flat = ops.reshape(stacked, (-1, height * width, depth // groups))
    key, value, score = (
        keras.layers.Dense(depth // groups, name=f"{name}_attention_{part}")(flat)
        for part in ("key", "value", "score")
    )
    query = keras.layers.Dense(depth // groups, name=f"{name}_attention_query")(text)
    query = ops.expand_dims(query, -1) / text.shape[-1] ** 0.5
    collect = ops.softmax(ops.matmul(key, query), axis=1)
    gathered = ops.matmul(ops.transpose(collect, (0, 2, 1)), value)
    spread = ops.matmul(ops.sigmoid(ops.matmul(score, query)), gathered)
    spread = ops.reshape(spread, (-1, height, width, depth // groups))
    attended = ops.concatenate(ops.split(spread, groups, axis=0), axis=-1)
    return layers.bn_leaky(keras.layers.Add()([attended, feature]), name), attended
