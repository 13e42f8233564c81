"""The whole network, Figure 2 of the paper, and the three parts that inference runs separately.

    image ── encode_image ──► visual, merge_2_side, merge_3_side ─┐
                                                                  ├─ ground ──► boxes, mask
    words ── encode_text ───► fq ─────────────────────────────────┘

`build_mcn` creates one flat Keras graph in which every layer has a name. `encode_image`,
`encode_text` and `ground` are parts of that graph and share its weights, so that an image is
encoded once for all its expressions.
"""

import contextlib
import random
from collections.abc import Iterator

import keras
import tensorflow as tf

from config.errors import ConfigError
from config.schema import Config
from model.backbones import build_backbone
from model.heads.cem import build_co_energy
from model.heads.detection import build_box_logits, build_reduce
from model.heads.fusion import build_fusion, build_visual_residual
from model.heads.garan import build_garan
from model.heads.segmentation import build_aspp, build_merge, build_side
from model.layers.blocks import LayerFactory
from model.text_encoders import build_text_encoder
from model.text_encoders.registry import TEXT_FEATURES

__all__ = [
    "IMAGE_FEATURES",
    "TEXT_FEATURES",
    "build_mcn",
    "encode_image",
    "encode_text",
    "freeze",
    "frozen_cut",
    "ground",
    "visual_backbone",
    "visual_trunk",
]

ANCHORS_PER_CELL = 3
# Layers whose outputs `ground` reads, together with those of TEXT_FEATURES.
IMAGE_FEATURES = ("visual", "merge_2_side", "merge_3_side")
OUTPUT_LAYERS = ("box_logits", "mask_logits")


def build_mcn(config: Config, crop_taps: bool | None = None) -> keras.Model:
    """Builds the network that a config describes, freshly initialized.

    Args:
        config: the settings; `config.seed` determines the initial weights.
        crop_taps: whether dilated convolutions leave out products with padding, see
            `DilatedConv2D`; None for what is faster here: True on a CPU, False on a GPU.

    Returns:
        keras.Model with inputs {"image": (N, H, W, 3) RGB in 0..1, "words": (N, T, embed_dim)
        vectors, or whatever the text encoder reads} and float32 outputs {"boxes": (N, H/32,
        W/32, 15) raw, "mask": (N, H/8, W/8, 1) logits, "co_energy": (N, 1)}. Its attribute
        `backbone` is the `Backbone`. Layers are frozen according to `free_body`.

    Raises:
        ConfigError: a registered name is unknown, or a setting does not fit the network.
    """
    if crop_taps is None:
        crop_taps = not tf.config.list_physical_devices("GPU")
    with _seeded(config.seed), _precision(config.precision):
        model = _assemble(config, crop_taps)
    freeze(model, config.free_body)
    return model


def _assemble(config: Config, crop_taps: bool) -> keras.Model:
    layers = LayerFactory(
        weight_decay=config.weight_decay,
        bn_momentum=config.bn_momentum,
        frozen_bn=config.frozen_bn,
        crop_taps=crop_taps,
    )
    wide, narrow = (2 * round(channels * config.head_width / 2) for channels in (512, 256))

    image = keras.Input((config.input_size, config.input_size, 3), name="image", dtype="float32")
    backbone = build_backbone(layers, image, config)
    fv1, fv2, fv3 = backbone.features
    if config.jemb_dim not in (0, fv1.shape[-1]):
        raise ConfigError(
            f"jemb_dim = {config.jemb_dim}: must be 0 or {fv1.shape[-1]}, the channels of Fv1"
        )
    visual = build_visual_residual(layers, fv1, config.head_width)
    side_2 = build_side(layers, fv2, visual.shape[-1], wide, 2)
    side_3 = build_side(layers, fv3, wide, wide, 3)

    text = build_text_encoder(config)
    fq = text.features["fq"]
    fm = build_fusion(layers, visual, fq)
    fm2 = build_merge(layers, fm, side_2, fv2.shape[-1], 2)
    fm3 = build_merge(layers, fm2, side_3, fv3.shape[-1], 3)
    fm3, attended_mask = build_garan(layers, fm3, fq, "garan_mask")
    mask = build_aspp(layers, fm3, narrow, config.aspp_dilations)

    d2 = build_reduce(layers, fm3, fm2, wide, 2)
    d1 = build_reduce(layers, d2, fm, wide, 1)
    d1 = layers.cbl(d1, wide, 1, "box_in")
    d1, attended_box = build_garan(layers, d1, fq, "garan_box")
    boxes = build_box_logits(layers, d1, ANCHORS_PER_CELL)

    energy = build_co_energy(layers, attended_mask, attended_box)
    model = keras.Model(
        {"image": image, "words": text.words},
        {"boxes": boxes, "mask": mask, "co_energy": energy},
        name="mcn",
    )
    model.backbone = backbone
    return model


def encode_image(model: keras.Model) -> keras.Model:
    """The part of a network that is independent of the words.

    Returns:
        keras.Model: image (N, H, W, 3) in 0..1 → list of the outputs of `IMAGE_FEATURES`:
        visual (N, H/32, W/32, C), merge_2_side (N, H/16, W/16, ·), merge_3_side (N, H/8, W/8, ·).
    """
    return keras.Model(model.input["image"], _outputs(model, IMAGE_FEATURES), name="encode_image")


def encode_text(model: keras.Model) -> keras.Model:
    """The part that is independent of the image.

    Returns:
        keras.Model: words → list of the outputs of `TEXT_FEATURES`: fq (N, dq). Keras returns the
        only element of such a list bare; `tf.nest.flatten` makes it a list again.
    """
    return keras.Model(model.input["words"], _outputs(model, TEXT_FEATURES), name="encode_text")


def ground(model: keras.Model) -> keras.Model:
    """The rest of the network, without the co-energy, which only the loss needs.

    Returns:
        keras.Model: list of the features of `encode_image`, then of `encode_text`, one row per
        expression → the outputs "boxes" and "mask" of `build_mcn`.
    """
    inputs = _outputs(model, (*IMAGE_FEATURES, *TEXT_FEATURES))
    outputs = {name: model.output[name] for name in ("boxes", "mask")}
    return keras.Model(inputs, outputs, name="ground")


def _outputs(model: keras.Model, names: tuple[str, ...]) -> list[keras.KerasTensor]:
    return [model.get_layer(name).output for name in names]


def visual_backbone(model: keras.Model) -> keras.Model:
    """The backbone alone, as weight files of backbones hold it: image → [Fv1, Fv2, Fv3]."""
    return _visual_part(model, list(model.backbone.features), "visual_backbone")


def visual_trunk(model: keras.Model) -> keras.Model:
    """The part of the backbone that classifiers share: image → its last feature.

    Raises:
        ValueError: the backbone has no such part.
    """
    if model.backbone.trunk_end is None:
        raise ValueError(f"the backbone {model.backbone.name} has no trunk of a classifier")
    return _visual_part(model, model.backbone.trunk_end, "visual_trunk")


def _visual_part(
    model: keras.Model, outputs: list[keras.KerasTensor] | keras.KerasTensor, name: str
) -> keras.Model:
    part = keras.Model(model.input["image"], outputs, name=name)
    part.backbone = model.backbone
    return part


def freeze(model: keras.Model, free_body: int) -> None:
    """Marks the layers that do not train.

    Args:
        model: a network of `build_mcn`.
        free_body: 0 freezes nothing, 1 the backbone up to `model.backbone.frozen_end`, 2 all
            but the layers that compute raw boxes and mask logits.
    """
    if free_body == 1:
        for layer in _frozen_part(model).layers:
            if layer.weights:
                layer.trainable = False
    elif free_body == 2:
        for layer in model.layers:
            layer.trainable = layer.name in OUTPUT_LAYERS


def _frozen_part(model: keras.Model) -> keras.Model:
    """Image → the end of what `free_body=1` freezes."""
    return keras.Model(model.input["image"], list(model.backbone.frozen_end))


def frozen_cut(model: keras.Model) -> list[keras.KerasTensor]:
    """Outputs of the frozen sub-network, which trained layers read.

    Returns:
        Tensors that depend on the image and on frozen layers alone.

    Raises:
        ValueError: the backbone trains, so that no feature stays constant.
    """
    if any(layer.trainable for layer in _frozen_part(model).layers if layer.weights):
        raise ValueError("no layer is frozen (free_body is 0): there are no constant features")
    image_encoder = encode_image(model)
    if not any(layer.trainable for layer in image_encoder.layers if layer.weights):
        return image_encoder.outputs
    return list(model.backbone.frozen_end)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws initial weights and dropout seeds from a seed, without changing any global generator.

    Keras draws the seeds of initializers and dropout layers from Python's global generator, whose
    state is restored.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Builds layers with a dtype policy and restores the previous policy afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
