"""Published MCN checkpoints at a small scale, and checkpoints that do not fit the config."""

import h5py
import numpy as np
import pytest

from model.weights import WeightsError, load_pretrained, load_weights
from model.weights.hdf5.layers import read_layers
from model.weights.published import check_text_settings, text_settings_of, text_settings_of_layers
from tests.model.weights.weight_fixtures import (
    file_layers,
    fresh_pair,
    randomize,
    refused,
    same_weights,
    variant,
    write_keras2,
    write_published,
)

GRU = {"rnn_cell": "gru", "bidirectional": 0, "lang_att": 0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "best_map.h5"
    return write_published(path, fresh_pair("darknet").source)


@pytest.mark.parametrize("first", [1, 81])
def test_every_weight_is_filled_whatever_the_numbers_in_names(tmp_path, pair, first):
    path = write_published(tmp_path / "best_map.h5", pair.source, first)
    for load in (load_weights, load_pretrained):
        fresh_pair(pair.backbone)
        report = load(pair.target, path)
        assert same_weights(pair.source, pair.target) > 60
        assert (report.missing, report.unused) == ([], [])
        assert report.parameters == pair.source.count_params()
        assert f"conv2d_{first}/" in report.entries[0][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (GRU, r"with rnn_cell=gru .*\n  --set rnn_cell=lstm bidirectional=1 lang_att=1$"),
        ({"rnn_hidden_size": 6, "embed_dim": 5}, "rnn_hidden_size=8 embed_dim=8"),
        ({"backbone_blocks": [1, 1, 1, 1, 1]}, "the config keys .*backbone_blocks"),
        ({"head_width": 0.125}, "--set head_width=0.0625$"),
    ],
)
def test_settings_that_do_not_fit_are_named(checkpoint, changes, message):
    network = variant(**changes)
    with refused(network, match=message):
        load_weights(network, checkpoint)


def test_other_backbone_is_named(checkpoint):
    network = fresh_pair("vgg").target
    with refused(network, match="--set backbone=darknet$"):
        load_weights(network, checkpoint)


def test_gru_without_attention(tmp_path, darknet):
    source, target = variant(**GRU), variant(6, **GRU)
    randomize(target, 6)
    path = write_published(tmp_path / "gru.h5", source)
    load_weights(target, path)
    assert same_weights(source, target)
    with refused(darknet.target, match="rnn_cell=gru bidirectional=0 lang_att=0"):
        load_weights(darknet.target, path)


# A file of VGG-16 without lang_att from the last convolution of the backbone on, as Keras 2.2.4
# sorts it, written out by hand.
WITHOUT_ATTENTION = """
    backbone_19_conv backbone_19_bn fusion_1_conv fusion_1_bn text_rnn fusion_2_conv
    fusion_text_dense fusion_2_bn fusion_text_bn fusion_bn lateral_2_conv lateral_2_bn merge_2
    merge_2_bn lateral_3_conv lateral_3_bn merge_3 merge_3_bn garan_mask_attention.query
    garan_mask_attention.key garan_mask_attention.score garan_mask_attention.value garan_mask_bn
    reduce_2_narrow_conv reduce_2_narrow_bn reduce_2_wide_conv reduce_2_wide_bn reduce_1_in_conv
    reduce_1_in_bn reduce_1_narrow_conv reduce_1_narrow_bn reduce_1_wide_conv reduce_1_wide_bn
    box_in_conv box_in_bn garan_box_attention.query garan_box_attention.key
    garan_box_attention.score garan_box_attention.value aspp_pool_conv aspp_pool_bn aspp_0_conv
    aspp_1_conv aspp_2_conv aspp_3_conv cem_mask aspp_0_bn aspp_1_bn aspp_2_bn aspp_3_bn cem_box
    garan_box_bn box_logits mask_logits
"""


@pytest.mark.parametrize("bidirectional", [0, 1])
def test_the_order_without_attention_is_that_of_the_published_code(tmp_path, bidirectional):
    settings = {"backbone": "vgg", "rnn_cell": "gru", "bidirectional": bidirectional, "lang_att": 0}
    source, target = variant(**settings), variant(6, **settings)
    body = [f"backbone_{n}_conv" for n in range(1, 14)]
    for number in range(14, 19):
        body += [f"backbone_{number}_conv", f"backbone_{number}_bn"]
    path = write_keras2(
        tmp_path / "best_map.h5", file_layers(source, body + WITHOUT_ATTENTION.split())
    )
    with h5py.File(path) as file:
        names = [layer.name for layer in read_layers(file, path)]
    rnn = "bidirectional_1" if bidirectional else "gru_1"
    assert names[23:32] == [
        "conv2d_19", "batch_normalization_6", "conv2d_20", "batch_normalization_7", rnn,
        "conv2d_21", "dense_1", "batch_normalization_8", "batch_normalization_9",
    ]  # fmt: skip
    randomize(target, 6)
    assert load_weights(target, path).parameters == source.count_params()
    assert same_weights(source, target) > 60


def test_layers_too_few_and_too_many(tmp_path, checkpoint, darknet):
    with h5py.File(checkpoint) as file:
        layers = [
            (layer.name, {f"{layer.name}/{i}": a[...] for i, a in enumerate(layer.arrays)})
            for layer in read_layers(file, checkpoint)
        ]
    path = write_keras2(tmp_path / "few.h5", layers[:-2])
    with refused(darknet.target, match="without counterpart: box_logits, mask_logits"):
        load_weights(darknet.target, path)
    path = write_keras2(
        tmp_path / "many.h5", [*layers, ("conv2d_99", {"k": np.ones((1, 1, 2, 2))})]
    )
    with refused(darknet.target, match="without counterpart: conv2d_99"):
        load_weights(darknet.target, path)
    layers[4], layers[6] = layers[6], layers[4]
    path = write_keras2(tmp_path / "order.h5", layers)
    with refused(darknet.target, match="does not fit backb"):
        load_weights(darknet.target, path)


def test_text_encoders_that_differ_name_the_key(checkpoint, darknet):
    ours = text_settings_of(darknet.target)
    with h5py.File(checkpoint) as file:
        theirs = text_settings_of_layers(read_layers(file, checkpoint))
    assert theirs == ours
    with pytest.raises(WeightsError, match='key text_encoder to "recurrent"'):
        check_text_settings(theirs, None, checkpoint)
    with pytest.raises(WeightsError, match='key text_encoder to "bert"'):
        check_text_settings(None, ours, checkpoint)
    check_text_settings(None, None, checkpoint)
