"""The whole network, Figure 2 of the paper, and the three parts that inference runs apart.

    image ── encode_image ──► visual, side_2, side_3 ─┐
                                                      ├─ ground ──► boxes, mask
    words ── encode_text ───► fq ─────────────────────┘

`build_mcn` makes one flat Keras graph whose layers all have names; `encode_image`,
`encode_text` and `ground` are cut from it and share its weights. An image is encoded once for
all its expressions.
"""

import contextlib

import keras

from model.backbones.darknet53 import build_backbone, frozen_tail_length
from model.heads.cem import build_co_energy
from model.heads.detection import build_box_logits, build_reduce
from model.heads.fusion import build_fusion, build_visual_residual
from model.heads.garan import build_garan
from model.heads.segmentation import build_aspp, build_merge, build_side
from model.layers.blocks import LayerFactory
from model.text_encoders.bert import build_bert_branch
from model.text_encoders.recurrent import build_text_branch

ANCHORS_PER_CELL = 3
IMAGE_FEATURES = ("visual", "merge_2_side", "merge_3_side")
OUTPUT_LAYERS = ("box_logits", "mask_logits")


def build_mcn(config):
    """The network that a `Config` describes, freshly initialised.

    Args:
        config: `config.schema.Config`; `config.seed` decides the initial weights.

    Returns:
        keras.Model with inputs {"image": (N, H, W, 3) in 0..1, "words": (N, T, embed_dim)} and
        float32 outputs {"boxes": (N, H/32, W/32, 15) raw, "mask": (N, H/8, W/8, 1) logits,
        "co_energy": (N, 1)}. With use_bert "words" is (N, T) int32 word pieces. Layers are frozen
        as config.free_body and config.bert_trainable say.
    """
    keras.utils.set_random_seed(config.seed)
    with _precision(config.precision):
        model = _assemble(config)
    freeze(model, config.free_body, config.backbone)
    return model


def _assemble(config):
    layers = LayerFactory(
        weight_decay=config.weight_decay,
        bn_momentum=config.bn_momentum,
        frozen_bn=config.frozen_bn,
        synchronized=config.distribute != "one",
    )
    wide, narrow = (2 * round(channels * config.head_width / 2) for channels in (512, 256))

    image = keras.Input((config.input_size, config.input_size, 3), name="image", dtype="float32")
    fv1, fv2, fv3 = build_backbone(
        layers, image, config.backbone, config.backbone_width, config.backbone_blocks
    )
    visual = build_visual_residual(layers, fv1, config.head_width)
    side_2 = build_side(layers, fv2, visual.shape[-1], wide, 2)
    side_3 = build_side(layers, fv3, wide, wide, 3)

    words, fq = _text_branch(config)
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
    return keras.Model(
        {"image": image, "words": words},
        {"boxes": boxes, "mask": mask, "co_energy": energy},
        name="mcn",
    )


def _text_branch(config):
    """(input "words", fq) of recurrence over word vectors, or of BERT over word pieces."""
    if config.text_input == "pieces":
        words = keras.Input((config.word_len,), name="words", dtype="int32")
        return words, build_bert_branch(words, config.bert_path, bool(config.bert_trainable))
    words = keras.Input((config.word_len, config.embed_dim), name="words", dtype="float32")
    fq = build_text_branch(
        words,
        cell=config.rnn_cell,
        units=config.rnn_hidden_size,
        bidirectional=bool(config.bidirectional),
        attention=bool(config.lang_att),
        dropout=config.rnn_drop_out,
    )
    return words, fq


def encode_image(model):
    """The part of a network that needs no words.

    Returns:
        keras.Model: image (N, H, W, 3) in 0..1 → [visual (N, H/32, W/32, C),
        merge_2_side (N, H/16, W/16, ·), merge_3_side (N, H/8, W/8, ·)].
    """
    outputs = [model.get_layer(name).output for name in IMAGE_FEATURES]
    return keras.Model(model.input["image"], outputs, name="encode_image")


def encode_text(model):
    """The part that needs no image: words → fq (N, dq), as a keras.Model."""
    return keras.Model(model.input["words"], model.get_layer("fq").output, name="encode_text")


def ground(model):
    """The rest, row by row: a list of the features of `encode_image`, then fq, to boxes and mask.

    Returns:
        keras.Model with inputs [visual, merge_2_side, merge_3_side, fq] and the outputs "boxes"
        and "mask" of `build_mcn`; the co-energy serves training alone.
    """
    inputs = [model.get_layer(name).output for name in (*IMAGE_FEATURES, "fq")]
    outputs = {name: model.output[name] for name in ("boxes", "mask")}
    return keras.Model(inputs, outputs, name="ground")


def visual_backbone(model):
    """The backbone alone, as weight files of backbones hold it: image → [Fv1, Fv2, Fv3]."""
    joints = ("fusion_1_conv", "lateral_2_conv", "lateral_3_conv")
    outputs = [model.get_layer(name).input for name in joints]
    return keras.Model(model.input["image"], outputs, name="visual_backbone")


def frozen_cut(model):
    """Where the frozen part of the image's way ends: the tensors that trained layers read.

    Returns:
        list of Keras tensors that follow from the image alone, through frozen layers alone.

    Raises:
        ValueError: the first layer of the network trains, so that nothing is frozen.
    """
    numbers = [int(layer.name.split("_")[1]) for layer in model.layers if _in_backbone(layer)]
    frozen = [n for n in numbers if not model.get_layer(f"backbone_{n}_conv").trainable]
    if 1 not in frozen:
        raise ValueError("no layer is frozen (free_body is 0): there are no features to keep")
    if not model.get_layer("fusion_1_conv").trainable:
        return [model.get_layer(name).output for name in IMAGE_FEATURES]
    last = model.get_layer(f"backbone_{max(frozen)}").output
    return [last, *(model.get_layer(f"lateral_{index}_conv").input for index in (2, 3))]


def freeze(model, free_body, backbone):
    """Marks the layers that do not train.

    Args:
        model: a network of `build_mcn`.
        free_body: 0 nothing is frozen, 1 the backbone but its last CBLs, 2 all but the layers
            that give raw boxes and mask logits.
        backbone: "darknet" (two CBLs at the end train) or "vgg" (one).
    """
    numbers = [int(layer.name.split("_")[1]) for layer in model.layers if _in_backbone(layer)]
    last_frozen = max(numbers) - frozen_tail_length(backbone)
    for layer in model.layers:
        if free_body == 2:
            layer.trainable = layer.name in OUTPUT_LAYERS
        elif _in_backbone(layer):
            layer.trainable = free_body == 0 or int(layer.name.split("_")[1]) > last_frozen


def _in_backbone(layer):
    return layer.name.startswith("backbone_")


@contextlib.contextmanager
def _precision(name):
    """Makes layers built inside follow a dtype policy, without leaving it set."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
